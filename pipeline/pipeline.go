package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/millhand/millhand/internal/stages"
)

// Pipeline takes messages from a source, processes them, and settles each exactly once.
type Pipeline[T any] struct {
	config Config[T]
	demand int // of one processor
	counts counts

	running atomic.Bool

	mu          sync.Mutex
	concurrency int
	paused      bool
	current     *typedRun[T] // nil: not running
}

// typedRun is a run and what knows its messages' type.
type typedRun[T any] struct {
	*run
	config   *Config[T]
	demand   int
	producer *stages.Producer[*Message[T]]
	released sync.Once

	mu      sync.Mutex
	ctx     context.Context //nolint:containedctx // of the processors: SetConcurrency starts some later
	pulling context.Context //nolint:containedctx // of the pulls until the next Pause
	endPull context.CancelFunc
	over    bool
	workers []*worker[T]
	keys    *byKey[T] // nil: no order. Of the producer's goroutine
}

// Run works until ctx ends, and until all that is in hand then is settled: it returns nil, or
// [ErrDrainTimeout] if that took longer than DrainTimeout, when the contexts of what still runs have ended
// with [ErrHandedBack], what has not returned 10 s after that is abandoned, and what is in hand is handed
// back. If the source ends Run drains in the same way, without a limit of time, and returns nil or what the
// source ended with. With Stop of OnFailure it returns what a message failed with, and a [*PartError] if the
// pipeline itself is broken.
func (p *Pipeline[T]) Run(ctx context.Context) error {
	if !p.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer p.running.Store(false)
	r, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer p.set(nil)
	s := r.span("pipeline", 0)
	err = p.supervise(ctx, r)
	s.end(0, err)
	return err
}

// set notes what runs; nil: nothing does.
func (p *Pipeline[T]) set(r *typedRun[T]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = r
}

// begin makes the parts of a run.
func (p *Pipeline[T]) begin(ctx context.Context) (*typedRun[T], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.config
	r := &typedRun[T]{config: c, demand: p.demand, run: &run{
		name: c.Name, log: c.Logger.With(slog.String("pipeline", c.Name)), failures: c.OnFailure.withDefaults(),
		ordered: ordered(c), described: c.Batchers, account: newAccount(c.InFlight), counts: &p.counts,
		observe: c.Observe, around: wrapped(c.Use), parts: new(sync.WaitGroup),
	}}
	if c.Failed != nil {
		r.failed = func(ctx context.Context, failed []*envelope) {
			messages := make([]*Message[T], 0, len(failed))
			for _, e := range failed {
				if m, ok := e.self.(*Message[T]); ok {
					messages = append(messages, m)
				}
			}
			c.Failed(ctx, messages)
		}
	}
	r.work, r.abort = context.WithCancelCause(context.WithoutCancel(ctx))
	r.stopped, r.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	for _, b := range c.Batchers {
		started := b.start(r.run)
		r.batchers = append(r.batchers, started)
		if started.left != nil {
			r.folds = append(r.folds, started)
		}
	}
	r.account.hungry, r.account.flushAll = r.flushOldest, r.flush
	r.account.paused = p.paused
	err := r.makeProducer()
	for range p.concurrency {
		if err == nil {
			err = r.addWorker()
		}
	}
	if err != nil {
		r.abort(nil)
		r.stop(nil)
		return nil, err
	}
	p.current = r
	return r, nil
}

// ordered reports whether messages have keys that they are ordered by.
func ordered[T any](c *Config[T]) bool {
	o, ok := c.Source.(interface{ Ordered() bool })
	return c.OrderBy != nil || ok && o.Ordered()
}

func (r *typedRun[T]) makeProducer() (err error) {
	c := stages.ProducerConfig[*Message[T]]{Demand: func(_ context.Context, n int, out []*Message[T]) ([]*Message[T], error) {
		r.account.update(func() { r.account.wanted += n })
		return out, nil
	}}
	c.Name, c.Log = r.name, r.log
	c.Buffer = new(stages.Unlimited)
	c.Dispatcher = func() stages.Dispatcher[*Message[T]] { return &spread[T]{} }
	if r.ordered {
		r.keys = &byKey[T]{ahead: max(defaultDemand, r.demand), keys: map[string]*keyState[T]{}}
		c.Dispatcher = func() stages.Dispatcher[*Message[T]] { return r.keys }
		r.passed = r.tells((*byKey[T]).passed)
		r.hold = r.tells(func(d *byKey[T], key string, _ stages.Outbox[*Message[T]]) { d.hold(key) })
		r.unhold = r.tells((*byKey[T]).unhold)
	}
	r.producer, err = stages.NewProducer(c)
	return err
}

// tells returns a function that has f called with a key where the dispatcher is.
func (r *typedRun[T]) tells(f func(d *byKey[T], key string, out stages.Outbox[*Message[T]])) func(string) {
	return func(key string) {
		_ = r.producer.Tell(func(_ stages.Dispatcher[*Message[T]], out stages.Outbox[*Message[T]]) { // after its end nobody waits
			f(r.keys, key, out)
		})
	}
}

// returnRest returns messages of a key to where they came from: the last of those that a processor was given.
func (r *typedRun[T]) returnRest(rest []*Message[T]) {
	_ = r.producer.Tell(func(_ stages.Dispatcher[*Message[T]], out stages.Outbox[*Message[T]]) { // as above
		r.keys.returned(rest, out)
	})
}

// addWorker makes a processor.
func (r *typedRun[T]) addWorker() (err error) {
	w := &worker[T]{run: r, group: group{run: r.run}}
	w.consumer, err = stages.NewConsumer(stages.ConsumerConfig[*Message[T]]{Handle: w.handle})
	if err != nil {
		return err
	}
	o := stages.SubscribeOptions[*Message[T]]{MaxDemand: r.demand, Cancel: stages.Temporary, Resubscribe: true}
	if r.ordered {
		o.MaxDemand, o.MinDemand = 1, new(0) // a message that takes long has none of another key behind it
	}
	if _, err = w.consumer.Subscribe(r.producer, o); err == nil {
		r.workers = append(r.workers, w)
	}
	return err
}

// setConcurrency starts and stops processors. A stopped one handles what it was delivered.
func (r *typedRun[T]) setConcurrency(n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil
	}
	started := r.ctx != nil
	for len(r.workers) > n {
		last := len(r.workers) - 1
		if started {
			r.workers[last].stop()
		}
		r.workers = r.workers[:last]
	}
	for len(r.workers) < n {
		if err := r.addWorker(); err != nil {
			return err
		}
		if started {
			r.startWorker(r.workers[len(r.workers)-1])
		}
	}
	return nil
}

func (r *typedRun[T]) startWorker(w *worker[T]) {
	ctx, cancel := context.WithCancel(r.ctx)
	w.stop = cancel
	r.parts.Go(func() { w.live(ctx) })
}

// SetConcurrency changes how many messages are in Process at once, now and in later Runs. n is at least 1.
func (p *Pipeline[T]) SetConcurrency(n int) error {
	if n < 1 {
		return invalid("%s: Concurrency %d must be at least 1", p.config.Name, n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.concurrency = n
	if p.current == nil {
		return nil
	}
	return p.current.setConcurrency(n)
}

// Pause has the source not asked any more, now and in later Runs, until Resume: a pull that waits ends. What
// is in hand goes on.
func (p *Pipeline[T]) Pause() { p.setPaused(true) }

// Resume ends a Pause.
func (p *Pipeline[T]) Resume() { p.setPaused(false) }

func (p *Pipeline[T]) setPaused(paused bool) {
	p.mu.Lock()
	p.paused = paused
	r := p.current
	p.mu.Unlock()
	if r != nil {
		r.account.update(func() { r.account.paused = paused })
		if paused {
			r.endPulls()
		}
	}
}

// Flush has the batches that are open now handled at once.
func (p *Pipeline[T]) Flush() {
	p.mu.Lock()
	r := p.current
	p.mu.Unlock()
	if r != nil {
		r.flush()
	}
}

// Stats returns what the pipeline is doing, and has done.
func (p *Pipeline[T]) Stats() Stats {
	s := Stats{
		State: StateStopped, OpenBatches: map[string]int{}, Late: map[string]int64{},
		Handled: p.counts.handled.Load(), Failed: p.counts.failed.Load(),
		HandedBack: p.counts.handedBack.Load(), Unsettled: p.counts.unsettled.Load(),
		Lost: p.counts.lost.Load(),
	}
	for _, b := range p.config.Batchers {
		if f, ok := b.(interface{ tooLate() int64 }); ok {
			name, _, _ := b.check()
			s.Late[name] = f.tooLate()
		}
	}
	p.mu.Lock()
	r := p.current
	p.mu.Unlock()
	if r == nil {
		return s
	}
	for i, b := range r.batchers {
		name, _, _ := r.described[i].check()
		s.OpenBatches[name] = b.open()
	}
	r.account.mu.Lock()
	s.InHand, s.State = r.account.inHand, r.account.state()
	r.account.mu.Unlock()
	if l, ok := p.config.Source.(Lagger); ok {
		_ = caught(func() error { s.Lag = l.Lag(); return nil }) // else it is not known
	}
	if r.keys != nil {
		s.HeldKeys, s.Waiting = int(r.keys.held.Load()), int(r.keys.waits.Load())
	}
	return s
}
