package registry

import "time"

// How long a wish outlives its reason, up to twice that: what other types do on a node comes
// and goes within milliseconds, and permits do not follow that. What is not needed any more is
// waited for by another, whose jobs do not run meanwhile.
const (
	wishWindow = 500 * time.Millisecond
	needWindow = 200 * time.Millisecond
)

// A wish is how many permits a node wants, made calm: it rises at once and falls late.
type wish struct {
	since     time.Time // when the present window began
	now, last int       // the most wanted in the present and in the last window
}

// see notes what is wanted and returns the wish.
func (w *wish) see(now time.Time, want int, window time.Duration) int {
	switch passed := now.Sub(w.since); {
	case passed >= 2*window:
		w.since, w.last, w.now = now, 0, want
	case passed >= window:
		w.since, w.last, w.now = now, w.now, want
	}
	w.now = max(w.now, want)
	return max(w.now, w.last)
}
