package registry

import "time"

// wishWindow is how long a wish outlives its reason, up to twice that: what other types do
// on a node comes and goes within milliseconds, and permits do not follow that.
const wishWindow = 500 * time.Millisecond

// A wish is how many permits a node wants, made calm: it rises at once and falls late.
type wish struct {
	since     time.Time // when the present window began
	now, last int       // the most wanted in the present and in the last window
}

// see notes what is wanted and returns the wish.
func (w *wish) see(now time.Time, want int) int {
	switch passed := now.Sub(w.since); {
	case passed >= 2*wishWindow:
		w.since, w.last, w.now = now, 0, want
	case passed >= wishWindow:
		w.since, w.last, w.now = now, w.now, want
	}
	w.now = max(w.now, want)
	return max(w.now, w.last)
}
