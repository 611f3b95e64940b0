package answer

import (
	"slices"

	"github.com/millhand/millhand/internal/view"
)

// A FullLimit is one under which no more jobs start for now.
type FullLimit struct {
	Pool string `json:"pool"` // such as "import", "key=crm" or "queue=default"
	By   string `json:"by"`   // "quota" or "rate"
}

// Limits reports whether a limit holds for a type.
func Limits(p *view.Pool, t *view.Type) bool {
	switch p.Kind {
	case "key":
		return p.Name == "key="+t.Key
	case "queue":
		return p.Name == "queue="+t.Queue
	}
	return p.Name == t.Name
}

// LimitedBy is what kind of limit it is.
func LimitedBy(p *view.Pool) string {
	if p.Rate {
		return "rate"
	}
	return "quota"
}

// IsFull reports whether all that a limit lets start has started. What is used of a quota is no measure of
// that: it includes jobs that workers have asked for, should one come.
func IsFull(snap *view.Snapshot, p *view.Pool) bool {
	if p.Limit == 0 || p.Rate {
		return p.Limit > 0 && p.Used >= p.Limit
	}
	return RunningUnder(snap, p).Value >= int64(p.Limit)
}

// RunningUnder is how many jobs run under a limit.
func RunningUnder(snap *view.Snapshot, p *view.Pool) view.Count {
	return SumOf(snap, func(t *view.Type) bool { return Limits(p, t) }, func(t *view.Type) view.Count { return t.Running })
}

// ReadyUnder is how many jobs are ready under a limit.
func ReadyUnder(snap *view.Snapshot, p *view.Pool) view.Count {
	return SumOf(snap, func(t *view.Type) bool { return Limits(p, t) }, func(t *view.Type) view.Count { return t.Ready })
}

// SumOf adds up a count of some types of all queues.
func SumOf(snap *view.Snapshot, which func(*view.Type) bool, of func(*view.Type) view.Count) view.Count {
	total := view.Counted(0, view.Exact, snap.At)
	for i := range snap.Queues {
		for j := range snap.Queues[i].Types {
			if t := &snap.Queues[i].Types[j]; which(t) {
				total = total.Plus(of(t))
			}
		}
	}
	return total
}

// IsPaused reports whether a queue is.
func IsPaused(snap *view.Snapshot, queue string) bool {
	return slices.ContainsFunc(snap.Queues, func(q view.Queue) bool { return q.Name == queue && q.Paused != nil })
}

// fullLimits are the limits that keep jobs of a type which are ready from starting.
func fullLimits(snap *view.Snapshot, t *view.Type) (all []FullLimit) {
	for i := range snap.Pools {
		if p := &snap.Pools[i]; t.Ready.Value > 0 && Limits(p, t) && IsFull(snap, p) {
			all = append(all, FullLimit{Pool: p.Name, By: LimitedBy(p)})
		}
	}
	return all
}
