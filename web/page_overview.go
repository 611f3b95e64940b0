package web

import (
	"context"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/answer"
	problems "github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

type overview struct {
	*look
	Problems []problemRow
	Report   *problems.Report // nil: nobody could look what is wrong
	Tiles    []tile
	Ranges   []rangePick
	Charts   []*chart
	Queues   []queueRow
	Slow     []slowType
	Empty    bool // nothing was ever enqueued
	Counted  bool // the workers keep statistics
}

// A tile is a number, and the list behind it.
type tile struct {
	Name, Value, Of string
	Path            string
	Kind            string // error if it is one to look at
}

func (h *Handler) overviewPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	o := &overview{look: l, Tiles: tiles(l), Ranges: v.rangePicks(), Counted: l.Rates != nil, Report: h.report(l)}
	o.Problems = problemRows(o.Report)
	o.Queues = v.queueRows(ctx, l)
	o.Empty = len(l.Queues) == 0
	_, back := v.window()
	if s := v.history(ctx, back, tally.ByAll, "", ""); s != nil && !o.Empty {
		o.Charts = []*chart{endsChart(s, tally.Pair{}), timesChart(s, tally.Pair{})}
	}
	o.Slow = slowest(l)
	return &page{title: "Overview", section: "Overview", template: "overview", data: o, charts: true}, nil
}

// history is that of what a user may see, nil if it is not known.
func (v *visit) history(ctx context.Context, w window, by tally.By, queue, typ string) *history {
	s, err := v.historyOf(ctx, w, by, queue, typ)
	if err != nil {
		v.h.log.DebugContext(ctx, "statistics cannot be read at the moment", slog.Any("err", err))
		return nil
	}
	return s
}

// historyOf is that of what a user may see.
func (v *visit) historyOf(ctx context.Context, w window, by tally.By, queue, typ string) (*history, error) {
	if v.looked == nil || !v.looked.Partial {
		return v.h.data.history(ctx, w, by, queue, typ)
	}
	s, err := v.h.data.history(ctx, w, tally.ByPair, queue, typ)
	if err != nil {
		return nil, err
	}
	return &history{s.Of(by, func(p tally.Pair) bool { return v.h.sees(v.user, place{p.Queue, p.Type}) }), s.at}, nil
}

// failingShare is of runs that fail, from which on their number is one to look at.
const failingShare = 0.2

// tiles are the states that jobs can be in, and how fast they leave them.
func tiles(l *look) []tile {
	slots, used := 0, 0
	for i := range l.Workers {
		w := &l.Workers[i]
		used += w.SlotsUsed()
		if w.State != registry.Draining {
			slots += w.Concurrency
		}
	}
	jobs := func(state string) string { return "/jobs?filter=state%3A" + state }
	sum := func(of func(*view.Queue) view.Count) string { return short(total(l, of)) }
	all := []tile{
		{Name: "Scheduled", Value: sum(func(q *view.Queue) view.Count { return q.Scheduled }), Path: jobs("scheduled")},
		{Name: "Ready", Value: sum(answer.ReadyOf), Path: jobs("ready")},
		{Name: "Running", Value: sum(func(q *view.Queue) view.Count { return q.Running }), Of: plural(int64(slots), "slot", "slots"), Path: jobs("running")},
		{Name: "Retrying", Value: sum(func(q *view.Queue) view.Count { return q.Retrying }), Path: jobs("retrying")},
		{Name: "Dead", Value: short(l.Dead), Path: "/dead"},
	}
	if l.Dead.Value > 0 {
		all[4].Kind = "error"
	}
	if r := throughputOf(l.Rates, "", ""); r != nil {
		failed := tile{Name: "Failed", Value: perSecond(r.Failed + r.Dead), Of: "a second", Path: "/types?sort=failed"}
		if r.FailedShare > failingShare {
			failed.Kind = "error"
		}
		all = append(all, tile{Name: "Ended", Value: perSecond(r.Ended), Of: "a second", Path: "/types?sort=rate"}, failed)
	}
	return all
}

// A slowType is a type whose jobs wait or run long.
type slowType struct {
	Name      string
	Wait, Run string // of all but the slowest twentieth
	wait      time.Duration
}

const mostSlow = 5

// slowest are the types whose jobs wait longest.
func slowest(l *look) (all []slowType) {
	for _, name := range typeNames(l) {
		r := throughputOf(l.Rates, "", name)
		if r == nil {
			continue
		}
		wait, waited := quantile(r.Counts, tally.Wait, 0.95)
		run, ran := quantile(r.Counts, tally.Run, 0.95)
		if !waited || !ran {
			continue
		}
		all = append(all, slowType{name, span(wait), span(run), wait})
	}
	sortBy(all, func(a, b slowType) bool { return a.wait > b.wait })
	return all[:min(len(all), mostSlow)]
}
