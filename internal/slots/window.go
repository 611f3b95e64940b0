package slots

import (
	"slices"
	"time"
)

// window counts starts until each is older than a period. Its memory does not grow with
// their number: those close together are counted as one group, which is as old as its last.
// Ages are those of the monotonic clock: while a machine is suspended a start stays
// young, which errs on the safe side.
type window struct {
	period time.Duration
	groups []starts // oldest first
	total  int
}

// starts are a group of starts close together.
type starts struct {
	first, last time.Time
	n           int
}

// windowGroups is how many groups of starts there are in a period, at most. The starts of a group
// count for as long as the youngest of them, so each may count that much too long.
const windowGroups = 256

// startSlack is what may pass between the counting of a start and the handler's first instruction.
// Two handlers may start that much closer together than they were counted.
func startSlack(period time.Duration) time.Duration { return min(period/50, 100*time.Millisecond) }

func (w *window) add(now time.Time) {
	w.total++
	if n := len(w.groups); n > 0 && now.Sub(w.groups[n-1].first) < w.period/windowGroups {
		w.groups[n-1].last = now
		w.groups[n-1].n++
		return
	}
	w.groups = append(w.groups, starts{first: now, last: now, n: 1})
}

// count returns the starts that are younger than the period.
func (w *window) count(now time.Time) int {
	old := 0
	for old < len(w.groups) && !now.Before(w.ages(w.groups[old])) {
		w.total -= w.groups[old].n
		old++
	}
	if old > 0 {
		w.groups = slices.Delete(w.groups, 0, old)
	}
	return w.total
}

// ages returns when a group stops counting.
func (w *window) ages(g starts) time.Time { return g.last.Add(w.period + startSlack(w.period)) }

// next returns when the count will fall, zero if it is 0.
func (w *window) next() time.Time {
	if len(w.groups) == 0 {
		return time.Time{}
	}
	return w.ages(w.groups[0])
}
