package stream

import (
	"context"
	"math/rand/v2"
	"time"
)

// firstConflictPause is long enough for whoever came first to be done.
const firstConflictPause = 2 * time.Millisecond

// Conflicts are the times that a write was refused with [ErrConflict] and is tried again. The zero value has
// none.
type Conflicts struct{ pause time.Duration }

// Wait waits before the next try: up to 2 ms at first, up to twice as long each time, and up to a second
// at last. It is at least half of that, and random, so that those who met come apart. It returns the cause
// of ctx's end if that comes first.
func (c *Conflicts) Wait(ctx context.Context) error {
	c.pause = min(max(2*c.pause, firstConflictPause), MaxRetryPause)
	return Sleep(ctx, c.pause/2+rand.N(c.pause/2))
}
