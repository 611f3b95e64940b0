package stages

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/millhand/millhand/internal/supervisor"
)

// ProducerConfig describes a Producer.
type ProducerConfig[T any] struct {
	OutletConfig[T]

	// Demand is called from the goroutine of Run with a number of events the consumers want, beyond
	// what is buffered and beyond what Demand was told before. It appends what it has to out and
	// returns that, or it returns nothing and Emit is called later, from anywhere. The stage copies
	// the events. ErrDone completes the producer; any other error fails it. While Demand runs the
	// stage does nothing else, so it should not wait for long. nil: only Emit produces.
	Demand func(ctx context.Context, n int, out []T) ([]T, error)

	// EndOnCancel ends the producer when a consumer has cancelled. GenStage: on_cancel: :stop.
	EndOnCancel bool
}

// A Producer emits events when its consumers ask for them.
type Producer[T any] struct {
	*outlet[T]
	oneRun      sync.Mutex // held by the Run in progress
	demand      func(ctx context.Context, n int, out []T) ([]T, error)
	start       func(*Producer[T]) (stop func()) // prepares demand for one Run; may be nil
	endOnCancel bool
	scratch     []T
}

// NewProducer returns a producer that is not running yet. The error wraps ErrInvalidOption.
func NewProducer[T any](c ProducerConfig[T]) (*Producer[T], error) {
	o, err := newOutlet(c.OutletConfig, newWaker(), DefaultBuffer)
	if err != nil {
		return nil, err
	}
	return &Producer[T]{outlet: o, demand: c.Demand, endOnCancel: c.EndOnCancel}, nil
}

// Run serves the consumers until ctx is cancelled or the producer completes, and returns nil then,
// or until Demand fails. Its subscriptions end with it; what is buffered when ctx is cancelled or
// Demand fails waits for the next Run.
func (p *Producer[T]) Run(ctx context.Context) error { return p.RunReady(ctx, func() {}) }

// RunReady is Run that reports when consumers can subscribe, for a supervisor that starts them
// after it.
func (p *Producer[T]) RunReady(ctx context.Context, ready func()) error {
	if !p.oneRun.TryLock() {
		return errRunning
	}
	defer p.oneRun.Unlock()
	reason := ErrCrashed
	p.open()
	defer func() { p.close(ctx, reason) }()
	ready()
	reason = p.serveAll(ctx)
	return result(ctx, reason)
}

// result turns the reason why a stage ended into what its Run returns: to have been told to stop is
// no error.
func result(ctx context.Context, reason error) error {
	if ctx.Err() != nil && errors.Is(reason, supervisor.ErrShutdown) {
		return nil
	}
	return reason
}

func (p *Producer[T]) serveAll(ctx context.Context) error {
	if p.start != nil {
		defer p.start(p)()
	}
	done := false
	for ctx.Err() == nil {
		busy := p.step()
		if p.endOnCancel && p.subscriberLeft {
			return nil
		}
		// What serving demand makes the dispatcher ask for comes after the next request: else a
		// selector that rejects everything would keep the producer from ever seeing that its
		// consumer has left.
		for range len(p.demands) {
			if done {
				break
			}
			err := p.produce(ctx, p.demanded())
			if done = errors.Is(err, ErrDone); err != nil && !done {
				return err
			}
		}
		switch {
		case done && p.backlog() == 0:
			return nil
		case !busy && (done || len(p.demands) == 0):
			p.waker.wait(ctx, false)
		}
	}
	return stopped(ctx)
}

// maxScratch bounds the memory that is set aside for one call of Demand.
const maxScratch = 4096

func (p *Producer[T]) produce(ctx context.Context, n int) error {
	if p.demand == nil {
		return nil
	}
	p.scratch = slices.Grow(p.scratch[:0], min(n, maxScratch))
	events, err := p.demand(ctx, n, p.scratch)
	if len(events) > 0 {
		_ = p.emit(events, false) // only a refusable surplus is an error
		p.doReasks()
	}
	clear(p.scratch[:min(n, cap(p.scratch))])
	return err
}

// Emit dispatches events, to be called from any goroutine but Demand's. It returns when they have
// been delivered or buffered; the slice is the caller's again then. It waits while the producer is
// paused or has not run yet.
//
// If ctx is done first none of the events were taken, and neither if the error is ErrNotRunning. A
// SurplusError tells that a producer without a buffer had less demand than events: the last ones
// were not taken.
func (p *Producer[T]) Emit(ctx context.Context, events []T) error {
	e := &emission[T]{events: events, reply: make(chan error, 1)}
	if !p.post(request[T]{kind: requestEmit, emission: e}) {
		return ErrNotRunning
	}
	select {
	case err := <-e.reply:
		return err
	case <-ctx.Done():
	}
	if e.claim() {
		return ctx.Err()
	}
	return <-e.reply // the stage was faster, and dispatching does not block
}

// GiveBack tells the consumers that n of the events they asked for will not come: demand the
// producer was told of and cannot serve, such as a pull that expired. Manual subscriptions learn it
// through OnReturn; others ask again at once.
func (p *Producer[T]) GiveBack(n int) {
	if n > 0 {
		p.post(request[T]{kind: requestGiveBack, n: n})
	}
}

// Pause holds demand and emissions back, without ending any subscription, until Resume or the end
// of Run.
func (p *Producer[T]) Pause() { p.post(request[T]{kind: requestPause}) }

// Resume serves what was held back, in the order it came.
func (p *Producer[T]) Resume() { p.post(request[T]{kind: requestResume}) }
