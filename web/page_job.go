package web

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/view"
)

type jobView struct {
	*look
	*view.Detail
	Row     jobRow
	Why     *explain.Answer // nil: it has ended, or it cannot be told
	Events  []eventRow
	Payload body
	Result  body
	Meta    map[string]string
	Actions []string
	Links   []link
	Full    bool // the user may see what is in it

	Workflow *millhand.Ref // that it is a step of, or is itself; nil: none that is known
}

// An eventRow is what happened to a job.
type eventRow struct {
	queue.Event
	Took   string // the run; empty: there was none
	Detail string // its error, or why
	Stack  string
	Life   string // that it is of, if that is not the newest
}

// A link leads elsewhere.
type link struct{ Name, To string }

// A body is a payload or a result as a page shows it.
type body struct {
	Text string
	Size int
	Kind string // JSON, text or bytes
	Cut  bool   // more of it is not shown
}

const (
	mostShown = 64 << 10
	mostBytes = 4 << 10
)

func placeOfPath(v *visit) (job.Place, error) {
	return job.PlaceOf(v.r.PathValue("queue"), v.r.PathValue("type"), v.r.PathValue("id"))
}

func refOf(j *view.Job) millhand.Ref { return millhand.Ref{Queue: j.Queue, Type: j.Type, ID: j.ID} }

func uitoa(n uint64) string { return strconv.FormatUint(n, 10) }

func (h *Handler) jobPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	p, err := placeOfPath(v)
	if err != nil {
		return nil, err
	}
	if !h.sees(v.user, place{p.Queue.String(), p.Type.String()}) {
		return nil, v.unseen(place{p.Queue.String(), p.Type.String()})
	}
	life := v.r.URL.Query().Get("life")
	detail, err := h.data.view.Job(ctx, p, life)
	if err != nil {
		return nil, err
	}
	d := &jobView{look: l, Detail: detail, Row: v.jobRow(detail.Job), Full: h.may(v.user, MayPayload)}
	if !detail.State.Final() && life == "" {
		d.Why, _ = h.why(ctx, v, p) // without it, the rest is shown
	}
	if detail.Running != nil && detail.Running.Progress != nil && !d.Full {
		p := *detail.Running.Progress
		p.Note, detail.Running.Progress = "", &p
	}
	d.Actions = actionsOn([]job.State{detail.State})
	if d.Full {
		d.Payload = bodyOf(h.opts.Redact.payload(v.user, refOf(&detail.Job), detail.Payload))
		d.Meta = h.opts.Redact.meta(detail.Job.Meta)
	}
	d.addEvents(v)
	d.Links = h.linksOf(&detail.Job)
	d.Workflow = h.workflowOfJob(ctx, v, &detail.Job)
	return &page{title: p.Type.String() + " " + p.ID.String(), section: "Jobs", template: "job", data: d, ended: detail.State.Final() && life != ""}, nil
}

// why is why a job is where it is, as a user may be told it.
func (h *Handler) why(ctx context.Context, v *visit, p job.Place) (*explain.Answer, error) {
	c, err := h.data.view.Case(ctx, p)
	if err != nil {
		return nil, err
	}
	if !h.may(v.user, MayPayload) {
		groupErrors(c)
	}
	if h.opts.Visible == nil {
		return explain.Explain(c), nil
	}
	v.onlyVisible(c)
	return v.visibleAnswer(explain.Explain(c), c.Registry.Nodes), nil
}

// groupErrors leaves of a case's errors what is told of them to everybody.
func groupErrors(c *view.Case) {
	if c.Event != nil {
		e := *c.Event
		e.Error, c.Event = view.GroupOf(e.Error, "").Text, &e
	}
	if c.Dead != nil {
		dead := *c.Dead
		dead.Failures = slices.Clone(dead.Failures)
		for i := range dead.Failures {
			dead.Failures[i].Error = view.GroupOf(dead.Failures[i].Error, "").Text
		}
		c.Dead = &dead
	}
}

// addEvents makes rows of what happened, and shows the result.
func (d *jobView) addEvents(v *visit) {
	for i := range d.Detail.Events {
		e := d.Detail.Events[i]
		row := eventRow{Event: e, Detail: e.Error, Stack: e.Stack}
		if !e.StartedAt.IsZero() {
			row.Took = span(max(e.Time.Sub(e.StartedAt), 0))
		}
		if row.Detail == "" {
			row.Detail = e.Reason
		}
		if e.Life != d.Detail.Life {
			row.Life = e.Life
		}
		if !d.Full {
			row.Stack = ""
			if e.Error != "" {
				row.Detail = view.GroupOf(e.Error, e.Reason).Text
			}
		}
		d.Events = append(d.Events, row)
		if b := resultOf(&e); d.Full && e.Life == d.Detail.Life && len(b) > 0 {
			d.Result = bodyOf(v.h.opts.Redact.payload(v.user, refOf(&d.Detail.Job), b))
		}
	}
}

// resultOf is what a handler returned.
func resultOf(e *queue.Event) []byte {
	if len(e.ResultBase64) > 0 {
		return e.ResultBase64
	}
	var text string
	if e.ResultText && json.Unmarshal(e.Result, &text) == nil {
		return []byte(text)
	}
	return e.Result
}

// bodyOf shows bytes as what they are: JSON indented and else byte for byte, text, or the beginning as hex.
func bodyOf(b []byte) body {
	out := body{Size: len(b), Kind: "text", Cut: len(b) > mostShown}
	var indented bytes.Buffer
	switch {
	case len(b) <= mostShown && json.Indent(&indented, b, "", "  ") == nil && len(b) > 0:
		out.Text, out.Kind = indented.String(), "JSON"
	case utf8.Valid(b):
		out.Text = strings.ToValidUTF8(string(b[:min(len(b), mostShown)]), "")
	default:
		out.Text, out.Kind, out.Cut = hex.Dump(b[:min(len(b), mostBytes)]), "bytes", len(b) > mostBytes
	}
	return out
}

// linksOf are the addresses elsewhere that a job has.
func (h *Handler) linksOf(j *view.Job) (all []link) {
	for _, name := range sortedKeys(h.opts.Links) {
		to := h.opts.Links[name]
		if strings.Contains(to, "{trace}") && j.Trace == "" {
			continue
		}
		to = strings.NewReplacer("{trace}", url.PathEscape(j.Trace), "{id}", url.QueryEscape(j.ID), "{queue}", j.Queue, "{type}", j.Type).Replace(to)
		all = append(all, link{name, to})
	}
	return all
}

// payload sends a payload as it is, for a download.
func (h *Handler) payload(ctx context.Context, v *visit) error {
	p, err := placeOfPath(v)
	if err != nil {
		return err
	}
	if !h.sees(v.user, place{p.Queue.String(), p.Type.String()}) {
		return v.unseen(place{p.Queue.String(), p.Type.String()})
	}
	d, err := h.data.view.Job(ctx, p, v.r.URL.Query().Get("life"))
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "application/octet-stream")
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+p.Type.String()+"-"+p.ID.String()+`.payload"`)
	v.w.WriteHeader(http.StatusOK)
	_, _ = v.w.Write(h.opts.Redact.payload(v.user, refOf(&d.Job), d.Job.Payload)) // the browser went away
	return nil
}

// Waits reports whether the job waits for its time, which can be another one.
func (d *jobView) Waits() bool { return d.State == job.Scheduled || d.State == job.Retrying }

// Timeout is how much of its time a run has used, from 0 to 100, of one that has such a time.
func (d *jobView) Timeout() int {
	r := d.Detail.Running
	if r == nil || r.TimeoutAt.IsZero() {
		return 0
	}
	whole := r.TimeoutAt.Sub(r.Since)
	return int(100 * min(1, max(0, float64(time.Since(r.Since))/float64(max(whole, 1)))))
}
