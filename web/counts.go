package web

import (
	"time"

	problems "github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/view"
)

// unclaimed is how many jobs are ready of types that no worker has ever served, besides those of the types
// that are known by name.
func unclaimed(q *view.Queue) int64 {
	n := q.Unclaimed.Value
	for i := range q.Types {
		if t := &q.Types[i]; !t.Consumer {
			n -= t.Ready.Value
		}
	}
	return n
}

// unserved reports whether jobs of a type wait that no worker takes.
func unserved(t *view.Type) bool { return t.Workers == 0 && t.Ready.Value > 0 }

// oldestOf is the oldest ready job of all types of a queue, unknown if it is of one of them.
func oldestOf(q *view.Queue) view.Oldest {
	first := view.Oldest{How: view.Exact}
	for i := range q.Types {
		o := q.Types[i].Oldest
		if o.How != view.Exact {
			return o
		}
		if o.Seq != 0 && (first.Seq == 0 || o.At.Before(first.At)) {
			first = o
		}
	}
	if first.Seq == 0 && q.Unclaimed.Value > 0 {
		return view.Oldest{How: view.Unknown} // nobody has looked for those
	}
	return first
}

// objectives are how old the oldest ready jobs of queues may be.
func (h *Handler) objectives() problems.Objectives { return h.opts.Objective }

// objective is how old the oldest ready job of a queue may be.
func (h *Handler) objective(l *look, queue string) time.Duration {
	return h.objectives().Of(queue, l.Workers)
}

// limits reports whether a limit holds for a type.
func limits(p *view.Pool, t *view.Type) bool {
	switch p.Kind {
	case "key":
		return p.Name == "key="+t.Key
	case "queue":
		return p.Name == "queue="+t.Queue
	}
	return p.Name == t.Name
}

// under adds up a count of all types that a limit holds for.
func under(l *look, p *view.Pool, of func(*view.Queue, *view.Type) view.Count) int64 {
	sum := int64(0)
	for i := range l.Queues {
		for j := range l.Queues[i].Types {
			if t := &l.Queues[i].Types[j]; limits(p, t) {
				sum += of(&l.Queues[i], t).Value
			}
		}
	}
	return sum
}

// runningUnder is how many jobs run under a limit.
func runningUnder(l *look, p *view.Pool) int64 {
	return under(l, p, func(_ *view.Queue, t *view.Type) view.Count { return t.Running })
}

// waitingFor is how many jobs are ready that would start if a limit were higher: none while it is not used
// up, and none that are paused or that nobody serves.
func waitingFor(l *look, p *view.Pool) int64 {
	used := runningUnder(l, p)
	if p.Rate {
		used = int64(p.Used)
	}
	if p.Limit == 0 || used < int64(p.Limit) {
		return 0
	}
	return under(l, p, func(q *view.Queue, t *view.Type) view.Count {
		if t.Workers == 0 || t.Paused != nil || q.Paused != nil {
			return view.Count{}
		}
		return t.Ready
	})
}
