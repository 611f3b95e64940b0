package registry

import "time"

// How long a maximum outlives its reason, up to twice that: what other types do on a node comes
// and goes within milliseconds, and permits do not follow that. What is not needed any more is
// waited for by another node, whose jobs do not run meanwhile.
const (
	wantWindow = 500 * time.Millisecond
	needWindow = 200 * time.Millisecond
)

// A windowMax is the most that was seen lately: it rises at once and falls late.
type windowMax struct {
	since     time.Time // when the present window began
	now, last int       // the most seen in the present and in the last window
}

// observe notes a number and returns the most seen in this window and the one before.
func (w *windowMax) observe(now time.Time, n int, window time.Duration) int {
	switch passed := now.Sub(w.since); {
	case passed >= 2*window:
		w.since, w.last, w.now = now, 0, n
	case passed >= window:
		w.since, w.last, w.now = now, w.now, n
	}
	w.now = max(w.now, n)
	return max(w.now, w.last)
}
