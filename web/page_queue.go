package web

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// A typeRow is a type in a queue, in a table.
type typeRow struct {
	*view.Type
	Rate        *throughput
	Failed      string // share of its runs
	Wait, Run   string // of all but the slowest twentieth
	Limits      []*view.Pool
	State, Kind string
}

type queueView struct {
	*look
	Queue     queueRow
	Objective string
	Types     []typeRow
	Ranges    []rangePick
	Charts    []*chart
}

func (h *Handler) queuePage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	name := v.r.PathValue("queue")
	rows := v.queueRows(ctx, l)
	i := slices.IndexFunc(rows, func(q queueRow) bool { return q.Name == name })
	if i < 0 {
		return nil, &problem{status: http.StatusNotFound, title: "There is no queue " + name, text: "The first job that is enqueued in it makes it."}
	}
	d := &queueView{look: l, Queue: rows[i], Objective: span(h.objective(l, name)), Ranges: v.rangePicks()}
	for j := range rows[i].Types {
		d.Types = append(d.Types, v.typeRow(l, rows[i].Queue, &rows[i].Types[j]))
	}
	_, back := v.window()
	if s := v.history(ctx, back, tally.ByQueue, name, ""); s != nil {
		d.Charts = []*chart{backlogChart(s, name), endsChart(s, tally.Pair{Queue: name})}
	}
	return &page{title: "Queue " + name, section: "Queues", template: "queue", data: d, charts: true}, nil
}

func (v *visit) typeRow(l *look, q *view.Queue, t *view.Type) typeRow {
	row := typeRow{Type: t, Rate: throughputOf(l.Rates, q.Name, t.Name), Failed: none, State: "works", Kind: "ok"}
	row.Wait, row.Run = v.times(row.Rate)
	if row.Rate != nil && row.Rate.Ended > 0 {
		row.Failed = percent(row.Rate.FailedShare)
	}
	for i := range l.Pools {
		if limits(&l.Pools[i], t) {
			row.Limits = append(row.Limits, &l.Pools[i])
		}
	}
	switch {
	case t.Paused != nil:
		row.State, row.Kind = "paused", "note"
	case unserved(t) && t.Draining > 0:
		row.State, row.Kind = "only draining workers", "error"
	case unserved(t):
		row.State, row.Kind = "no worker", "error"
	case t.Workers == 0:
		row.State, row.Kind = "not served", "note"
	}
	return row
}

// times are how long jobs waited and ran lately.
func (*visit) times(r *throughput) (wait, run string) {
	wait, run = none, none
	if r == nil {
		return wait, run
	}
	if d, ok := quantile(r.Counts, tally.Wait, 0.95); ok {
		wait = span(d)
	}
	if d, ok := quantile(r.Counts, tally.Run, 0.95); ok {
		run = span(d)
	}
	return wait, run
}

// A typeSum is a type in all queues together.
type typeSum struct {
	Name           string
	Queues         []string
	Ready, Running view.Count
	Workers        int
	Rate           *throughput
	Failed         string
	Wait, Run      string
	Busy           string // slots that it used on average
	busy           float64
}

type typesView struct {
	*look
	Types []typeSum
	Sort  sorting
}

func (h *Handler) typesPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	d := &typesView{look: l, Sort: v.sorting("name")}
	for _, name := range typeNames(l) {
		d.Types = append(d.Types, v.typeSum(l, name))
	}
	sortTable(d.Sort, d.Types, map[string]func(a, b typeSum) bool{
		"ready":   func(a, b typeSum) bool { return a.Ready.Value > b.Ready.Value },
		"running": func(a, b typeSum) bool { return a.Running.Value > b.Running.Value },
		"rate":    func(a, b typeSum) bool { return a.Rate.ended() > b.Rate.ended() },
		"failed":  func(a, b typeSum) bool { return a.Rate.failedShare() > b.Rate.failedShare() },
		"busy":    func(a, b typeSum) bool { return a.busy > b.busy },
	})
	return &page{title: "Types", section: "Types", template: "types", data: d}, nil
}

func (r *throughput) failedShare() float64 {
	if r == nil {
		return 0
	}
	return r.FailedShare
}

func (v *visit) typeSum(l *look, name string) typeSum {
	sum := typeSum{Name: name, Ready: view.Counted(0, view.Exact, l.At), Running: view.Counted(0, view.Exact, l.At), Rate: throughputOf(l.Rates, "", name), Failed: none, Busy: none}
	for i := range l.Queues {
		for j := range l.Queues[i].Types {
			if t := &l.Queues[i].Types[j]; t.Name == name {
				sum.Queues = append(sum.Queues, l.Queues[i].Name)
				sum.Ready, sum.Running = sum.Ready.Plus(t.Ready), sum.Running.Plus(t.Running)
				sum.Workers = max(sum.Workers, t.Workers)
			}
		}
	}
	sum.Wait, sum.Run = v.times(sum.Rate)
	if sum.Rate != nil {
		sum.busy = sum.Rate.Counts.Busy().Seconds() / l.Rates.Over.Seconds()
		sum.Busy = perSecond(sum.busy)
		if sum.Rate.Ended > 0 {
			sum.Failed = percent(sum.Rate.FailedShare)
		}
	}
	return sum
}

// A runRow is a job that runs.
type runRow struct {
	Queue, Type, ID, Worker string
	Since                   time.Time
}

type typeView struct {
	*look
	Type    typeSum
	Rows    []typeRow
	Limits  []limitRow
	Longest []runRow
	Ranges  []rangePick
	Charts  []*chart
	Heat    []*heatMap
}

const mostLongest = 10

func (h *Handler) typePage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	name := v.r.PathValue("type")
	if !slices.Contains(typeNames(l), name) {
		return nil, &problem{status: http.StatusNotFound, title: "There is no type " + name, text: "No worker serves it, and none has."}
	}
	d := &typeView{look: l, Type: v.typeSum(l, name), Ranges: v.rangePicks(), Longest: longest(l, func(r runRow) bool { return r.Type == name })}
	shared := make(map[string]bool)
	for i := range l.Queues {
		for j := range l.Queues[i].Types {
			t := &l.Queues[i].Types[j]
			if t.Name != name {
				continue
			}
			row := v.typeRow(l, &l.Queues[i], t)
			d.Rows = append(d.Rows, row)
			for _, p := range row.Limits {
				if at := p.Name + p.Per; !shared[at] {
					shared[at] = true
					d.Limits = append(d.Limits, v.limitRow(l, p))
				}
			}
		}
	}
	_, back := v.window()
	if s := v.history(ctx, back, tally.ByType, "", name); s != nil {
		d.Charts = []*chart{endsChart(s, tally.Pair{Type: name}), timesChart(s, tally.Pair{Type: name})}
		d.Heat = []*heatMap{heatMapOf(s, tally.Pair{Type: name}, tally.Wait, "Wait"), heatMapOf(s, tally.Pair{Type: name}, tally.Run, "Run")}
	}
	return &page{title: "Type " + name, section: "Types", template: "type", data: d, charts: true}, nil
}

// longest are the jobs that run longest, as the workers say.
func longest(l *look, which func(runRow) bool) (all []runRow) {
	for i := range l.Workers {
		for _, r := range l.Workers[i].Running {
			if row := (runRow{r.Queue, r.Type, r.ID, l.Workers[i].ID, r.Since}); which(row) {
				all = append(all, row)
			}
		}
	}
	sortBy(all, func(a, b runRow) bool { return a.Since.Before(b.Since) })
	return all[:min(len(all), mostLongest)]
}
