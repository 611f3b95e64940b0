package pipeline

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"
)

// live runs the parts until ctx ends, the source does, or a message stops the pipeline.
func (r *typedRun[T]) live(ctx context.Context) error {
	settles, give := context.WithCancel(context.WithoutCancel(ctx))
	defer give()
	r.settles = settles
	parts, endParts := context.WithCancel(context.WithoutCancel(ctx))
	defer endParts()
	pulling, endPull := context.WithCancel(ctx)
	defer endPull()
	defer r.abort(nil)
	defer r.stop(nil)
	defer r.runSource(ctx)()

	over := r.start(parts, pulling)
	var cause error
	select {
	case cause = <-over:
	case <-ctx.Done():
	case <-r.stopped.Done():
	}
	endPull()
	s := r.span("drain", 0)
	err := r.drain(ctx)
	endParts()
	for _, b := range r.batchers {
		b.close()
	}
	r.end()
	if !r.partsEnd(err, abandonAfter-settledWithin) {
		r.log.ErrorContext(ctx, "functions ignore the end of their context: they are abandoned")
		give()
		r.partsEnd(err, settledWithin)
	}
	give()
	r.handBack()
	s.end(0, err)
	if err == nil {
		err = cause
	}
	return err
}

// runSource has the source do what it has to do beside, until the function that it returns is called.
func (r *typedRun[T]) runSource(ctx context.Context) (end func()) {
	s, ok := r.config.Source.(Runner)
	if !ok {
		return func() {}
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var source sync.WaitGroup
	source.Go(func() {
		err := contained(func() error { return s.Run(running) })
		if err != nil && running.Err() == nil {
			r.stop(err)
			r.abort(ErrHandedBack)
		}
	})
	return func() {
		cancel()
		source.Wait()
	}
}

// start starts all parts. The channel gets what the source ended with.
func (r *typedRun[T]) start(parts, pulling context.Context) (over <-chan error) {
	r.parts.Go(func() { r.guard(partSource, func() { _ = r.producer.Run(parts) }) }) // ends with its context
	r.mu.Lock()
	r.ctx = parts
	for _, w := range r.workers {
		r.startWorker(w)
	}
	r.mu.Unlock()
	for _, b := range r.batchers {
		for _, h := range b.handlers {
			r.parts.Go(func() { r.guard(partBatchers, h) })
		}
	}
	ended := make(chan error, 1)
	r.parts.Go(func() {
		r.guard(partSource, func() {
			p := &puller[T]{run: r}
			defer r.release()
			defer p.leave()
			cause := p.pull(pulling)
			r.account.update(func() { r.account.ended = pulling.Err() == nil })
			r.release()
			r.account.update(func() { r.account.pulling, r.account.closed = false, true })
			ended <- cause
		})
	})
	return ended
}

// release tells a source, once, that nothing more is pulled.
func (r *typedRun[T]) release() {
	s, ok := r.config.Source.(Releaser)
	if !ok {
		return
	}
	r.released.Do(func() {
		if err := contained(func() error { s.Release(r.settles); return nil }); err != nil {
			r.log.Error("the source does not want to know that nothing more is pulled", slog.Any("err", err))
		}
	})
}

// drain waits until everything is settled: for DrainTimeout once ctx has ended. An error says why it was
// not.
func (r *typedRun[T]) drain(ctx context.Context) error {
	r.account.update(func() { r.account.closed = true })
	done := ctx.Done()
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for {
		select {
		case <-r.account.settled:
			return nil
		case <-r.stopped.Done():
			return context.Cause(r.stopped) //nolint:contextcheck // it is what the run ended with
		case <-done:
			done = nil
			timer.Reset(r.config.DrainTimeout)
		case <-timer.C:
			r.abort(ErrHandedBack)
			return ErrDrainTimeout
		}
	}
}

// end lets no processor be started any more.
func (r *typedRun[T]) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
}

// partsEnd waits for all goroutines: for as long as it takes if nothing is in hand, else for no longer than that.
func (r *typedRun[T]) partsEnd(failed error, within time.Duration) bool {
	ended := make(chan struct{})
	var waiter sync.WaitGroup
	waiter.Go(func() {
		r.parts.Wait()
		close(ended)
	})
	if failed == nil {
		waiter.Wait()
		return true
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

// handBack settles what is still in hand. An acker gets as long for it as functions do.
func (r *typedRun[T]) handBack() {
	left := r.account.sweep(ErrHandedBack)
	if len(left) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.settles), abandonAfter)
	defer cancel()
	last := *r.run
	last.settles = ctx
	last.settle(left)
}
