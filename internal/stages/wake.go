package stages

import "context"

// bell wakes the one goroutine that runs a stage. A ring is never lost and many rings are one.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default: // It has not woken up from the last ring yet.
	}
}

// wait returns when the bell has been rung, or ctx is done and the stage has not begun to end.
func (b bell) wait(ctx context.Context, ending bool) {
	done := ctx.Done()
	if ending {
		done = nil // Already seen; what the stage waits for now is a ring.
	}
	select {
	case <-b:
	case <-done:
	}
}
