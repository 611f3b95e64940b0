package supervisor

import (
	"slices"
	"time"
)

// intensity decides when a supervisor has restarted too often and must fail itself. Source: MaxR
// and MaxT of Erlang's supervisor(3), with a precise clock instead of whole seconds.
type intensity struct {
	maxRestarts int
	within      time.Duration
	recent      []time.Time // Invariant: oldest first, all inside the window.
}

// restart records a restart at now and reports whether it is still allowed. A restart exactly as
// old as the window is long still counts.
func (i *intensity) restart(now time.Time) bool {
	i.recent = slices.DeleteFunc(i.recent, func(t time.Time) bool { return now.Sub(t) > i.within })
	i.recent = append(i.recent, now)
	return len(i.recent) <= i.maxRestarts
}
