package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/filter"
	problems "github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

func (o *overview) tell(*visit) any {
	return answer.StatusOf(o.Snapshot, o.Rates, o.Report)
}

// tellProblems is what is wrong.
func (h *Handler) tellProblems(ctx context.Context, v *visit) (any, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	r := h.report(l)
	if r == nil {
		return nil, &problem{status: http.StatusServiceUnavailable, title: "Nobody could look what is wrong", text: "The broker does not answer.", hint: "Ask again."}
	}
	return struct {
		Problems []problems.Problem `json:"problems"`
		Unknown  []problems.Gap     `json:"not_looked_for"`
	}{r.Problems, r.Unknown}, nil
}

func (d *queuesView) tell(*visit) any {
	snap := *d.Snapshot
	snap.Queues = nil
	for i := range d.Queues {
		snap.Queues = append(snap.Queues, *d.Queues[i].Queue)
	}
	return map[string][]answer.Queue{"queues": d.Rates.Queues(&snap)}
}

func (d *queueView) tell(*visit) any {
	snap := *d.Snapshot
	snap.Queues = []view.Queue{*d.Queue.Queue}
	return d.Rates.Queues(&snap)[0]
}

func (d *typesView) tell(*visit) any {
	return tellTypes(d.look, func(string) bool { return true })
}

func (d *typeView) tell(*visit) any {
	return tellTypes(d.look, func(name string) bool { return name == d.Type.Name })
}

// tellTypes are types in their queues.
func tellTypes(l *look, which func(name string) bool) any {
	var all []view.Type
	for i := range l.Queues {
		for _, t := range l.Queues[i].Types {
			if which(t.Name) {
				all = append(all, t)
			}
		}
	}
	sortBy(all, func(a, b view.Type) bool { return a.Name < b.Name })
	return map[string][]answer.Type{"types": l.Rates.Types(l.Snapshot, all)}
}

// refusal is what the page says in its own words.
func (d *jobsView) refusal(v *visit) error {
	switch {
	case d.Wrong != "":
		return badForm("filter", d.Wrong)
	case d.withPayload(v) && !v.h.may(v.user, MayPayload):
		return v.forbidden(MayPayload)
	}
	return nil
}

func (*jobsView) withPayload(v *visit) bool { return v.r.URL.Query().Get("payload") == "true" }

func (d *jobsView) tell(v *visit) any {
	out := answer.ListedPage{Jobs: []answer.Listed{}, Class: d.Page.Class, Total: d.Page.Total, Looked: d.Page.Looked, Cursor: d.Page.Cursor}
	withPayload := d.withPayload(v)
	for _, j := range d.Page.Jobs {
		l := answer.Listed{Job: v.toldJob(j)}
		if withPayload {
			l.Payload = answer.PayloadOf(v.h.opts.Redact.payload(v.user, refOf(&j), j.Payload))
		}
		out.Jobs = append(out.Jobs, l)
	}
	if v.h.opts.Visible != nil {
		out.Total, out.Looked.Of = view.Uncounted(), view.Uncounted() // they are of all
	}
	return out
}

// toldJob is what a user may see of a job, but its payload.
func (v *visit) toldJob(j view.Job) view.Job {
	j.Payload = nil
	if v.h.may(v.user, MayPayload) {
		if len(j.Meta) > 0 {
			j.Meta = v.h.opts.Redact.meta(j.Meta)
		}
		return j
	}
	j.Meta = nil
	if j.Error != "" {
		j.Error = view.GroupOf(j.Error, j.Reason).Text
	}
	return j
}

func (d *jobView) tell(v *visit) any {
	out := *d.Detail
	out.Job = v.toldJob(d.Detail.Job)
	out.Events = slices.Clone(d.Detail.Events)
	for i := range out.Events {
		e := &out.Events[i]
		if !d.Full {
			e.Stack, e.Error = "", groupedText(e.Error, e.Reason)
			e.Result, e.ResultText, e.ResultBase64 = nil, false, nil
			continue
		}
		if b := resultOf(e); len(b) > 0 && v.h.opts.Redact.any() {
			e.Result, e.ResultText, e.ResultBase64 = resultAs(v.h.opts.Redact.payload(v.user, refOf(&d.Detail.Job), b))
		}
	}
	out.Failures = slices.Clone(d.Detail.Failures)
	for i := range out.Failures {
		if f := &out.Failures[i]; !d.Full {
			f.Stack, f.Error = "", groupedText(f.Error, "")
		}
	}
	var payload []byte
	if d.Full {
		payload = v.h.opts.Redact.payload(v.user, refOf(&d.Detail.Job), d.Detail.Job.Payload)
	}
	return answer.DetailOf(&out, payload)
}

// groupedText is an error with its values replaced.
func groupedText(text, reason string) string {
	if text == "" {
		return ""
	}
	return view.GroupOf(text, reason).Text
}

// resultAs is a result as events have it.
func resultAs(b []byte) (as json.RawMessage, isText bool, raw []byte) {
	var e queue.Event
	e.SetResult(b)
	return e.Result, e.ResultText, e.ResultBase64
}

// tellWhy is why a job is where it is.
func (h *Handler) tellWhy(ctx context.Context, v *visit) (any, error) {
	p, err := placeOfPath(v)
	if err != nil {
		return nil, err
	}
	if !h.sees(v.user, place{p.Queue.String(), p.Type.String()}) {
		return nil, v.unseen(place{p.Queue.String(), p.Type.String()})
	}
	return h.why(ctx, v, p)
}

func (d *deadView) tell(v *visit) any {
	out := *d.Groups
	out.Groups = make([]view.DeadGroup, len(d.Groups.Groups))
	for i, g := range d.Groups.Groups {
		g.Example = v.toldJob(g.Example)
		out.Groups[i] = g
	}
	if v.h.opts.Visible != nil {
		out.Of = view.Uncounted()
	}
	return out
}

func (d *workersView) tell(*visit) any {
	return map[string][]registry.Node{"workers": append(slices.Concat([]registry.Node{}, d.Workers), d.readers()...)}
}

func (d *workerView) tell(*visit) any { return d.Worker }

func (d *limitsView) tell(*visit) any {
	return map[string][]view.Pool{"pools": append([]view.Pool{}, d.Pools...)}
}

func (d *activityView) tell(*visit) any {
	return map[string][]audit.Record{"records": append([]audit.Record{}, d.Records...)}
}

const (
	usualHistory   = time.Hour
	longestHistory = 100 * 24 * time.Hour
)

// tellHistory is what ran in the last time, as "millhand stats" has it.
func (h *Handler) tellHistory(ctx context.Context, v *visit) (any, error) {
	if _, err := v.look(ctx); err != nil {
		return nil, err
	}
	q := v.r.URL.Query()
	back := usualHistory
	if text := q.Get("range"); text != "" {
		var err error
		if back, err = filter.Duration(text); err != nil || back < time.Minute || back > longestHistory {
			return nil, badForm("range", "want a duration from 1m to 100d, such as 24h")
		}
	}
	by := tally.ByType
	switch text := q.Get("by"); text {
	case "", "type":
	case "queue", "pair":
		by = tally.By(text)
	case "time":
		by = tally.ByAll
	default:
		return nil, badForm("by", "want type, queue, pair or time")
	}
	s, err := v.historyOf(ctx, window{span: back}, by, q.Get("queue"), q.Get("type"))
	if err != nil {
		return nil, err
	}
	name := string(by)
	if by == tally.ByAll {
		name = "time"
	}
	all := answer.StatsOf(s.Series, name)
	metric := q.Get("metric")
	if metric == "" {
		return all, nil
	}
	one, ok := all.Metric(metric)
	if !ok {
		return nil, badForm("metric", "want one of "+strings.Join(answer.Metrics(), ", "))
	}
	return one, nil
}

func (d *bulkNewView) tell(v *visit) any {
	out := struct {
		bulk.Looked
		Before string `json:"before"`
	}{*d.Looked, d.Before}
	out.Sample = []view.Job{}
	for _, j := range d.Looked.Sample {
		out.Sample = append(out.Sample, v.toldJob(j))
	}
	if v.h.opts.Visible != nil {
		out.Of = view.Uncounted()
	}
	return out
}

// A bulkTold is an operation on many jobs, as programs are told it.
type bulkTold struct {
	ID      string    `json:"id"`
	By      string    `json:"by"`
	Do      string    `json:"do"`
	Filter  string    `json:"filter"`
	Total   int       `json:"total"`
	Rate    int       `json:"rate"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Stopped bool      `json:"stopped"`
	Failure string    `json:"failure,omitempty"`
	bulk.Report
}

func (d *bulkView) tell(*visit) any {
	out := bulkTold{
		ID: d.bulkRun.ID, By: d.By, Do: d.Do, Filter: d.Means, Total: d.Total, Rate: d.Rate, Started: d.Started.UTC(), Ended: d.Ended.UTC(),
		Stopped: d.Stopped, Failure: d.Err, Report: d.Report,
	}
	out.Cursor = ""
	if d.Ended.IsZero() {
		out.Ended = time.Time{}
	}
	if out.Outcomes == nil { // it has just begun
		out.Outcomes, out.Refused = map[string]int{}, map[string]int{}
	}
	return out
}

// tellLive sends a snapshot whenever there is a new one, as an event, until the program leaves. Pages are kept up to
// date from the same.
func (h *Handler) tellLive(ctx context.Context, v *visit) error {
	return h.follow(ctx, v, func(ctx context.Context, s *sender) (ended bool, err error) {
		if !s.isStill(ctx, MayView) {
			return true, nil
		}
		l, err := s.look(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return true, nil //nolint:nilerr // nobody is there to be told
			}
			return false, s.event("away", `{"error":{"code":"service_unavailable","text":"the broker does not answer","hint":"it is asked again"}}`)
		}
		if l.At.Equal(s.at) {
			return false, nil
		}
		s.at = l.At
		b, err := json.Marshal(answer.StatusOf(l.Snapshot, l.Rates, h.report(l)))
		if err != nil {
			return false, err
		}
		return false, s.event("snapshot", string(bytes.TrimSpace(b)))
	})
}
