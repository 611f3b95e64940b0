package stages

import "context"

// waker wakes the one goroutine that runs a stage. A wake is never lost, and many of them are one.
type waker chan struct{}

func newWaker() waker { return make(waker, 1) }

func (w waker) wake() {
	select {
	case w <- struct{}{}:
	default: // it has not woken up from the last one yet
	}
}

// wait returns when the stage was woken, or ctx is done and the stage has not begun to end.
func (w waker) wait(ctx context.Context, ending bool) {
	done := ctx.Done()
	if ending {
		done = nil // already seen; what the stage waits for now is a wake
	}
	select {
	case <-w:
	case <-done:
	}
}
