package supervisor

import (
	"cmp"
	"context"
	"errors"
	"sync"
)

// Runner is what [Start] starts: any [Part], any stage of package stages, and whatever else runs
// until its context is done and says when it is ready.
type Runner interface {
	RunReady(ctx context.Context, ready func()) error
}

// Start runs r on a goroutine of its own and returns when it is ready. It is for a program or a
// test that goes on while r runs; one that has nothing else to do calls Run.
//
// The returned function stops r, waits for its end and returns how it ended: nil if it ended
// because of that, or had ended cleanly before. It may be called any number of times, from any
// goroutine. The end of ctx stops r, too.
//
// The error says why r did not become ready: how it ended, or the cause of ctx if that was done
// first. Nothing runs then.
func Start(ctx context.Context, r Runner) (stop func() error, err error) {
	own, cancel := context.WithCancelCause(ctx)
	ready, done := make(chan struct{}), make(chan struct{})
	var end error
	Go(func() error {
		return r.RunReady(own, sync.OnceFunc(func() { close(ready) }))
	}, func(err error) {
		end = err
		close(done)
	})
	stop = func() error {
		cancel(ErrShutdown)
		<-done
		if stoppedCleanly(end) && !errors.Is(end, ErrIntensity) {
			return nil
		}
		return end
	}
	select {
	case <-ready:
		return stop, nil
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), stop())
	case <-done:
	}
	select {
	case <-ready: // and it has ended since, which stop tells
		return stop, nil
	default:
		cancel(nil)
		return nil, cmp.Or(end, errNotReady)
	}
}
