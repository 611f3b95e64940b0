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

// starts are some close together.
type starts struct {
	first, last time.Time
	n           int
}

// windowGroups is how many groups of starts there are in a period, at most: whoever counts
// as the youngest of a group counts for as much too long.
const windowGroups = 256

// startSlack is what may pass between a start being counted and the handler's first
// instruction: two handlers' starts may be closer together by that than their counts.
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

// ages returns when a group does not count any more.
func (w *window) ages(g starts) time.Time { return g.last.Add(w.period + startSlack(w.period)) }

// next returns when count will be less, zero if it is 0.
func (w *window) next() time.Time {
	if len(w.groups) == 0 {
		return time.Time{}
	}
	return w.ages(w.groups[0])
}
