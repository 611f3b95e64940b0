package web

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/view"
)

// bulks are the operations on many jobs of this process: one runs at a time, and the last ones are kept to
// be seen. They go on when their page is left, and end with the handler.
type bulks struct {
	ctx  context.Context //nolint:containedctx // of what goes on after a request
	end  context.CancelFunc
	wg   sync.WaitGroup
	pace atomic.Pointer[bulk.Pace] // of the one that runs

	mu  sync.Mutex
	all []*bulkRun // the newest last
}

const (
	keptBulks  = 20
	soFarEvery = 30 * time.Second // its progress is noted in the audit: the process may die
	typedFrom  = 100              // jobs, from which on their number has to be typed
)

func newBulks() *bulks {
	b := &bulks{}
	b.ctx, b.end = context.WithCancel(context.Background())
	return b
}

// stop stops what runs, and waits for it.
func (b *bulks) stop() {
	b.end()
	b.wg.Wait()
}

func (b *bulks) wrote(_ string, took time.Duration) {
	if p := b.pace.Load(); p != nil {
		p.Wrote(took)
	}
}

// A bulkRun is one of them.
type bulkRun struct {
	ID, By, Filter string
	Do             string // retry, run, cancel or delete
	Total          int
	Rate           int
	Started        time.Time

	stop context.CancelFunc

	mu    sync.Mutex
	state bulkState
}

// A bulkState is how far it has come.
type bulkState struct {
	bulk.Report
	Ended   time.Time // zero: it runs
	Stopped bool
	Err     string
}

func (r *bulkRun) now() bulkState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

func (r *bulkRun) set(change func(*bulkState)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.state)
}

func (b *bulks) find(id string) *bulkRun {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.all {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// add adds one, if none runs.
func (b *bulks) add(r *bulkRun) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, other := range b.all {
		if s := other.now(); s.Ended.IsZero() {
			return &problem{status: http.StatusConflict, title: "One at a time", text: other.By + " does something to many jobs already: " + other.Do + ".", hint: "See /bulk/" + other.ID + ", and wait or stop it."}
		}
	}
	if b.all = append(b.all, r); len(b.all) > keptBulks {
		b.all = b.all[1:]
	}
	return nil
}

type bulkNewView struct {
	Do, Filter string
	Looked     *bulk.Looked
	Rows       []jobRow
	Before     string // when it was looked, for what came later not to be meant
	Typed      bool   // the number has to be typed
	Rate       int
	Takes      string
	Wrong      string
}

// bulkNewPage shows what would be done, and asks.
func (h *Handler) bulkNewPage(ctx context.Context, v *visit) (*page, error) {
	word, text := v.r.URL.Query().Get("do"), v.r.URL.Query().Get("filter")
	k, err := v.operation(ctx, word)
	if err != nil {
		return nil, err
	}
	f, err := v.meant(k, text)
	if err != nil {
		return nil, err
	}
	h.data.view.Refresh() // what is meant is what there is now
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	looked, err := bulk.Look(ctx, lister{h.data.view, v.seen()}, bulk.Operation{Filter: f, Before: l.At})
	if err != nil {
		return nil, err
	}
	d := &bulkNewView{Do: word, Filter: text, Looked: looked, Before: l.At.Format(time.RFC3339Nano), Typed: looked.Matched > typedFrom, Rate: bulk.DefaultRate}
	d.Takes = span(time.Duration(looked.Matched) * time.Second / bulk.DefaultRate)
	for _, j := range looked.Sample {
		d.Rows = append(d.Rows, v.jobRow(j))
	}
	return &page{title: "Many jobs", section: "Jobs", template: "bulk-new", data: d, ended: true}, nil
}

// meant is the filter of an operation, all that is in a state included: its page asks.
func (v *visit) meant(k operationKind, text string) (filter.Filter, error) {
	f, err := filter.Parse(text)
	if err != nil {
		return f, badForm("filter", err.Error())
	}
	if err := v.searchable(f); err != nil {
		return f, err
	}
	only := true
	for _, t := range f.Terms {
		only = only && t.Key == filter.State
	}
	if f, err = k.kind.Meant(f, only); err != nil {
		return f, badForm("filter", err.Error())
	}
	return f, nil
}

// A lister lists what a user may see.
type lister struct {
	view *view.View
	seen func(queue, typ string) bool
}

// List implements [bulk.Lister].
func (l lister) List(ctx context.Context, q view.Query) (*view.Page, error) {
	q.Visible = l.seen
	return l.view.List(ctx, q)
}

// startBulk begins an operation on many jobs.
func (h *Handler) startBulk(ctx context.Context, v *visit) (*notice, error) {
	form := v.r.PostForm
	k, err := v.operation(ctx, form.Get("do"))
	if err != nil {
		return nil, err
	}
	f, err := v.meant(k, form.Get("filter"))
	if err != nil {
		return nil, err
	}
	total, err := strconv.Atoi(form.Get("total"))
	before, timeErr := time.Parse(time.RFC3339Nano, form.Get("before"))
	rate, rateErr := strconv.Atoi(form.Get("rate"))
	switch {
	case errors.Join(err, timeErr) != nil:
		return nil, badForm("total", "is not as the page had it")
	case rateErr != nil || rate < 1 || rate > bulk.MaxRate:
		return nil, badForm("pace", "want 1 to "+strconv.Itoa(bulk.MaxRate)+" a second")
	case total > typedFrom && strings.TrimSpace(form.Get("typed")) != strconv.Itoa(total):
		return nil, badForm("number", "type "+strconv.Itoa(total)+" to go on; nothing was done")
	}
	runs, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it goes on when whoever began it has left
	forget := context.AfterFunc(h.bulks.ctx, cancel)               //nolint:contextcheck // the dashboard's life ends it
	stop := func() {
		forget()
		cancel()
	}
	r := &bulkRun{ID: uuid.NewString(), By: v.user.Name, Filter: form.Get("filter"), Do: form.Get("do"), Total: total, Rate: rate, Started: time.Now(), stop: stop}
	if err := h.bulks.add(r); err != nil {
		stop()
		return nil, err
	}
	op := bulk.Operation{Filter: f, Before: before}
	action, list := h.action(k.kind, v.user.Name, ""), lister{h.data.view, v.seen()}
	note := audit.Record{By: v.user.Name, From: clientOf(v.r), Action: audit.Action(k.kind), Filter: f.String(), Op: audit.NewOp()}
	h.bulks.wg.Go(func() { h.runBulk(runs, r, op, action, list, note) })
	return &notice{to: "/bulk/" + r.ID, answer: map[string]string{"id": r.ID}}, nil
}

// runBulk does it, and notes how far it has come.
func (h *Handler) runBulk(ctx context.Context, r *bulkRun, op bulk.Operation, a bulk.Action, l bulk.Lister, note audit.Record) {
	defer r.stop()
	pace := bulk.NewPace(r.Rate)
	h.bulks.pace.Store(pace)
	defer h.bulks.pace.Store(nil)
	h.note(ctx, note, audit.Begun, bulk.Report{Done: r.Total})
	last := time.Now()
	report, err := bulk.Run(ctx, l, op, a, pace, func(now bulk.Report) {
		r.set(func(s *bulkState) { s.Report = copied(now) })
		if time.Since(last) >= soFarEvery {
			last = time.Now()
			h.note(ctx, note, audit.SoFar, now)
		}
	})
	outcome := audit.Done
	r.set(func(s *bulkState) {
		s.Report, s.Ended = copied(report), time.Now()
		switch {
		case errors.Is(err, context.Canceled):
			s.Stopped, outcome = true, audit.Interrupted
		case err != nil:
			s.Err, outcome = err.Error(), audit.Failed
		}
	})
	h.note(ctx, note, outcome, report)
	h.groups.forget()
	h.data.view.Refresh()
}

// copied is a report that nobody writes to any more.
func copied(r bulk.Report) bulk.Report {
	r.Outcomes, r.Refused = maps.Clone(r.Outcomes), maps.Clone(r.Refused)
	r.Errors = append([]bulk.Failure(nil), r.Errors...)
	return r
}

func (h *Handler) note(ctx context.Context, n audit.Record, outcome string, r bulk.Report) {
	n.Outcome, n.Count, n.Refused, n.Failed = outcome, r.Done, r.Refused, r.Failed
	if err := h.audit.Write(ctx, n); err != nil {
		h.log.WarnContext(ctx, "an operation cannot be noted in the audit", slog.String("action", string(n.Action)), slog.Any("err", err))
	}
}

type bulkView struct {
	*bulkRun
	bulkState

	Means string // the filter, as the user may read it
	At    int    // of Total
	Left  string
	Speed string
}

func (h *Handler) bulkPage(ctx context.Context, v *visit) (*page, error) {
	l, _ := v.look(ctx) // the frame shows it; the page is about something else
	r := h.bulks.find(v.r.PathValue("bulk"))
	if r == nil || !h.seesBulk(v, l, r) {
		return nil, &problem{status: http.StatusNotFound, title: "There is no such operation", text: "This process knows of its last ones only, since its start. 'millhand audit' and the activity have all."}
	}
	d := &bulkView{bulkRun: r, bulkState: r.now(), Means: v.filterText(r.Filter)}
	if !h.may(v.user, MayPayload) {
		d.Errors = nil
	}
	d.At = d.Done + d.RefusedTotal() + d.Failed
	until := time.Now()
	if !d.Ended.IsZero() {
		until = d.Ended
	}
	if took := until.Sub(r.Started).Seconds(); took > 0 {
		speed := float64(d.At) / took
		d.Speed = perSecond(speed)
		if speed > 0 && d.Ended.IsZero() {
			d.Left = span(time.Duration(float64(max(r.Total-d.At, 0))/speed*float64(time.Second)) + time.Second)
		}
	}
	return &page{title: "Many jobs", section: "Jobs", template: "bulk", data: d, ended: !d.Ended.IsZero()}, nil
}

// seesBulk reports whether a user may see an operation on many jobs: what somebody else does may be to jobs
// that they do not see.
func (h *Handler) seesBulk(v *visit, l *look, r *bulkRun) bool {
	return r.By == v.user.Name || h.opts.Visible == nil || l != nil && !l.Partial
}

func (h *Handler) stopBulk(ctx context.Context, v *visit) (*notice, error) {
	l, _ := v.look(ctx)
	r := h.bulks.find(v.r.PathValue("bulk"))
	if r == nil || !h.seesBulk(v, l, r) {
		return nil, &problem{status: http.StatusNotFound, title: "There is no such operation", text: "It is over, or this process was started anew since."}
	}
	if _, err := v.operation(ctx, r.Do); err != nil {
		return nil, err
	}
	r.stop()
	return &notice{Kind: "ok", Text: "It is being stopped: what is in flight is finished.", to: "/bulk/" + r.ID}, nil
}
