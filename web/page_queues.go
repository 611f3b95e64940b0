package web

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// A queueRow is a queue in a table.
type queueRow struct {
	*view.Queue
	ReadyAll view.Count
	Rate     *throughput
	Oldest   view.Oldest
	EmptyIn  string // at the rate of the last minutes
	Spark    []float64
	State    string // in a word or two; empty: it works
	Kind     string // ok, note, warn or error
	Late     bool
}

type queuesView struct {
	*look
	Queues []queueRow
	Filter string
	Sort   sorting
	All    int
}

func (h *Handler) queuesPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	d := &queuesView{look: l, Filter: strings.TrimSpace(v.r.URL.Query().Get("name")), Sort: v.sorting("name"), All: len(l.Queues)}
	d.Queues = slices.DeleteFunc(v.queueRows(ctx, l), func(q queueRow) bool { return !strings.Contains(q.Name, d.Filter) })
	sortTable(d.Sort, d.Queues, map[string]func(a, b queueRow) bool{
		"ready":   func(a, b queueRow) bool { return a.ReadyAll.Value > b.ReadyAll.Value },
		"running": func(a, b queueRow) bool { return a.Running.Value > b.Running.Value },
		"later":   func(a, b queueRow) bool { return a.Later.Value > b.Later.Value },
		"rate":    func(a, b queueRow) bool { return a.Rate.ended() > b.Rate.ended() },
		"oldest": func(a, b queueRow) bool {
			return !a.Oldest.At.IsZero() && (b.Oldest.At.IsZero() || a.Oldest.At.Before(b.Oldest.At))
		},
	})
	return &page{title: "Queues", section: "Queues", template: "queues", data: d}, nil
}

func (r *throughput) ended() float64 {
	if r == nil {
		return 0
	}
	return r.Ended
}

// sparkOver is the time of the small charts in tables.
const sparkOver = 10 * time.Minute

func (v *visit) queueRows(ctx context.Context, l *look) (all []queueRow) {
	recent := v.history(ctx, window{span: sparkOver}, tally.ByQueue, "", "")
	for i := range l.Queues {
		q := &l.Queues[i]
		row := queueRow{Queue: q, ReadyAll: answer.ReadyOf(q), Rate: throughputOf(l.Rates, q.Name, ""), Oldest: oldestOf(q)}
		if recent != nil {
			row.Spark = spark(recent, tally.Pair{Queue: q.Name})
		}
		row.EmptyIn = emptyIn(row.ReadyAll, row.Rate)
		row.State, row.Kind = v.stateOf(l, q)
		row.Late = row.Oldest.How == view.Exact && !row.Oldest.At.IsZero() && v.now.Sub(row.Oldest.At) > v.h.objective(l, q.Name)
		if row.Late && row.Kind == "ok" {
			row.State, row.Kind = "late", "warn"
		}
		all = append(all, row)
	}
	return all
}

// emptyIn is how long it takes to run what is ready, as it goes at the moment.
func emptyIn(ready view.Count, r *throughput) string {
	switch {
	case !ready.Known() || r == nil:
		return "?"
	case ready.Value == 0:
		return none
	case r.Ended == 0:
		return "never"
	}
	return span(time.Duration(float64(ready.Value)/r.Ended*float64(time.Second)) + time.Second)
}

// stateOf says in a word or two how a queue is.
func (v *visit) stateOf(l *look, q *view.Queue) (text, kind string) {
	switch {
	case q.Paused != nil:
		text = "paused"
		if q.Paused.By != "" {
			text += " by " + q.Paused.By
		}
		return text, "note"
	case len(l.Workers) == 0 && answer.ReadyOf(q).Value > 0:
		return "no workers", "error"
	}
	n := 0
	for i := range q.Types {
		if unserved(&q.Types[i]) {
			n++
		}
	}
	switch {
	case n > 0:
		return plural(int64(n), "type", "types") + " unserved", "error"
	case unclaimed(q) > 0:
		return "types never served", "error"
	}
	return "works", "ok"
}
