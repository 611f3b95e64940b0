package stages

import (
	"context"
	"slices"
	"sync"
	"time"
)

// ProcessorConfig describes a Processor.
type ProcessorConfig[In, Out any] struct {
	Hooks[In]
	OutletConfig[Out]

	// Handle turns a batch of events into others, which it appends to out and returns, from the
	// goroutine of Run. Both slices are the stage's: they are valid until it returns. An error ends
	// the processor.
	Handle func(ctx context.Context, batch []In, out []Out) ([]Out, error)

	// Grace is how long handlers go on after the context of Run was cancelled, before theirs is
	// cancelled too. Nil means as long as they need.
	Grace *time.Duration
}

// A Processor is a consumer and a producer: GenStage's producer_consumer. It asks for new events as
// it handles events, however few it makes of them, but handles none while its own consumers want
// none.
type Processor[In, Out any] struct {
	*intake[In]
	*outlet[Out]
	oneRun  sync.Mutex // held by the Run in progress
	handle  func(ctx context.Context, batch []In, out []Out) ([]Out, error)
	grace   *time.Duration
	posted  []func(ctx context.Context, out []Out) ([]Out, error)
	scratch []Out // what Handle appends to
	made    int   // how many events it made last
}

// NewProcessor returns a processor that is not running yet. The error wraps ErrInvalidOption.
func NewProcessor[In, Out any](c ProcessorConfig[In, Out]) (*Processor[In, Out], error) {
	if c.Handle == nil {
		return nil, invalid("a processor needs Handle")
	}
	w := newWaker()
	o, err := newOutlet(c.OutletConfig, w, Unlimited)
	if err != nil {
		return nil, err
	}
	return &Processor[In, Out]{intake: newIntake(w, c.Hooks), outlet: o, handle: c.Handle, grace: c.Grace}, nil
}

// Run works until a subscription ends that the processor does not outlive, and returns its reason
// after everything delivered has been handled and everything buffered has been delivered on; or
// until ctx is cancelled, and returns nil after everything delivered has been handled; or until
// Handle fails. What is left waits for the next Run.
func (p *Processor[In, Out]) Run(ctx context.Context) error { return p.RunReady(ctx, func() {}) }

// RunReady is Run that reports when consumers can subscribe, for a supervisor that starts them
// after it.
func (p *Processor[In, Out]) RunReady(ctx context.Context, ready func()) error {
	if !p.oneRun.TryLock() {
		return errRunning
	}
	defer p.oneRun.Unlock()
	handling, cancel := graceful(ctx, p.grace)
	defer cancel()
	reason := ErrCrashed
	p.posted = nil
	p.outlet.open()
	p.intake.open()
	defer func() {
		p.intake.close(reason)
		p.outlet.close(ctx, reason)
	}()
	ready()
	reason = p.process(ctx, handling)
	return result(ctx, reason)
}

func (p *Processor[In, Out]) process(ctx, handling context.Context) error {
	for {
		stopping := ctx.Err() != nil
		p.takeMail(ctx)
		for p.step() {
			p.demands = p.demands[:0] // upstream is asked for what has been handled, not for what is wanted downstream
		}
		if err := p.callPosted(handling); err != nil {
			return err
		}
		// GenStage: a delivery is handled whole as soon as there is any demand.
		_, ok := p.head()
		if ok && (stopping || p.dispatcher.Waiting() > 0) {
			if err := p.transform(ctx, handling); err != nil {
				return err
			}
			continue
		}
		if p.finished() && (stopping || p.backlog() == 0) {
			return p.reason
		}
		p.intake.waker.wait(ctx, p.ending && stopping)
	}
}

// Post has f called from the goroutine of Run, between batches, and what it appends to out and returns
// emitted: for what comes from elsewhere than upstream, such as a timer. An error ends the processor.
// Before the first Run f waits for it; what still waits when a Run ends is not called. It returns ErrNotRunning if the stage has stopped. GenStage: handle_info.
func (p *Processor[In, Out]) Post(f func(ctx context.Context, out []Out) ([]Out, error)) error {
	if !p.outlet.post(request[Out]{kind: requestCall, call: func() { p.posted = append(p.posted, f) }}) {
		return ErrNotRunning
	}
	return nil
}

// callPosted calls what was posted, in order.
func (p *Processor[In, Out]) callPosted(handling context.Context) error {
	if len(p.posted) == 0 {
		return nil
	}
	posted := p.posted
	p.posted = nil
	for _, f := range posted {
		p.scratch = slices.Grow(p.scratch[:0], min(p.made, maxScratch))
		events, err := f(handling, p.scratch)
		if err != nil {
			return err
		}
		p.made = len(events)
		_ = p.emit(events, false) // only a refusable surplus is an error
		p.doReasks()
		clear(p.scratch[:min(p.made, cap(p.scratch))])
	}
	return nil
}

// transform handles the delivery at the head.
func (p *Processor[In, Out]) transform(ctx, handling context.Context) error {
	for last := false; !last; {
		b := p.batch()
		p.scratch = slices.Grow(p.scratch[:0], min(max(len(b.events), p.made), maxScratch))
		events, err := p.handle(handling, b.events, p.scratch)
		if err != nil {
			return err
		}
		_ = p.emit(events, false) // only a refusable surplus is an error
		p.doReasks()
		p.made = len(events)
		clear(p.scratch[:min(p.made, cap(p.scratch))])
		p.askAgain(ctx, b)
		last = b.last
	}
	return nil
}
