package stages

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/supervisor"
)

// ConsumerSupervisorConfig describes a ConsumerSupervisor.
type ConsumerSupervisorConfig[T any] struct {
	Hooks[T]

	// Run is the child for one event, on a goroutine of its own. Its slot is free again when it has
	// ended: it may return, panic or exit, which are failures that match ErrCrashed. A crash of the
	// stage itself cancels its context.
	Run func(ctx context.Context, event T) error

	// Start, in place of Run, starts a child that lives elsewhere, such as below a
	// [supervisor.Dynamic], and returns at once. It is called from the goroutine of Run. The child
	// does its work inside slot.Run, so that its slot comes back however it ends. Or Start returns
	// an error, and the child has not been started. ctx is the child's.
	Start func(ctx context.Context, event T, slot Slot[T]) error

	// Restart is Temporary, for children whose end frees the slot whatever they ended with, or
	// Transient, for children that are started again with the same event in the same slot if they
	// failed. Permanent is refused: no event would ever be done.
	Restart Mode

	// MaxRestarts is how often the child of one event is started again. Nil means
	// DefaultMaxRestarts, and zero never. It is a budget for each event, not a common one as
	// GenStage's: one poisonous event must not end the work on the others.
	MaxRestarts *int

	OnFree   func(slots int)          // this many children have ended, or failed to start
	OnGiveUp func(event T, err error) // the child failed for good: it could not be started, or not again

	// Grace is how long children go on after the context of Run was cancelled, before theirs is
	// cancelled too. Nil means as long as they need.
	Grace *time.Duration
}

// DefaultMaxRestarts is Elixir's max_restarts.
const DefaultMaxRestarts = 3

// A ConsumerSupervisor starts one child for each event, in order, and asks for new events only as
// children end: so at most max demand of them run for one subscription. With manual subscriptions
// the bound is whatever was asked for.
type ConsumerSupervisor[T any] struct {
	*intake[T]
	oneRun  sync.Mutex // held by the Run in progress
	config  ConsumerSupervisorConfig[T]
	running int
	freed   int // slots that OnFree has not been told of
}

// child is one event's work.
type child[T any] struct {
	sub      *Subscription[T]
	event    T
	restarts int
	ends     atomic.Int64 // how many of its runs have ended: each is reported once
}

// NewConsumerSupervisor returns one that is not running yet. The error wraps ErrInvalidOption.
func NewConsumerSupervisor[T any](c ConsumerSupervisorConfig[T]) (*ConsumerSupervisor[T], error) {
	switch {
	case (c.Run == nil) == (c.Start == nil):
		return nil, invalid("a consumer supervisor needs Run or Start, one of them")
	case c.Restart != Transient && c.Restart != Temporary:
		return nil, invalid("restart mode of an event's child is permanent, want Transient or Temporary")
	case c.MaxRestarts == nil:
		c.MaxRestarts = new(DefaultMaxRestarts)
	case *c.MaxRestarts < 0:
		return nil, invalid("max restarts is %d", *c.MaxRestarts)
	}
	if c.Run != nil {
		c.Start = starter(c.Run)
	}
	return &ConsumerSupervisor[T]{intake: newIntake(newWaker(), c.Hooks), config: c}, nil
}

// starter returns a Start whose children are calls of run.
func starter[T any](run func(context.Context, T) error) func(context.Context, T, Slot[T]) error {
	return func(ctx context.Context, event T, slot Slot[T]) error {
		supervisor.Go(func() error { return run(ctx, event) }, func(err error) { slot.Ended(crashed(err)) })
		return nil
	}
}

// A Slot is the place of one event's child among those that may run at the same time. It may be
// used from anywhere.
type Slot[T any] struct {
	stage *ConsumerSupervisor[T]
	child *child[T]
	life  int // which of the child's starts this is
}

// Run calls f, which is the child. When f has ended, whatever it did, the slot is free again, or a
// Transient child that failed is started again in it. Run returns how the child ended: with what f
// returned or, if it panicked, with an error that matches ErrCrashed and holds the
// [*supervisor.PanicError]. A runtime.Goexit goes on.
func (s Slot[T]) Run(f func() error) (err error) {
	err = supervisor.ErrExited
	defer func() {
		if v := recover(); v != nil {
			err = crash(v)
		} else {
			err = crashed(err)
		}
		s.Ended(err)
	}()
	return f()
}

// Ended tells that the child has ended, with err or with nil, for one that does not work inside Run
// or that is no longer waited for. Only the first end of a child counts.
func (s Slot[T]) Ended(err error) {
	if s.child.ends.CompareAndSwap(int64(s.life), int64(s.life)+1) {
		s.stage.post(notice[T]{kind: noticeEnded, child: s.child, err: err})
	}
}

// Run starts children until ctx is cancelled or a subscription ends that the stage does not
// outlive, as Consumer.Run does. It returns after all children have ended. Events that were
// delivered before the producers confirmed are still started.
func (s *ConsumerSupervisor[T]) Run(ctx context.Context) error { return s.RunReady(ctx, func() {}) }

// RunReady is Run that reports when it has asked its producers for a subscription, as
// Consumer.RunReady.
func (s *ConsumerSupervisor[T]) RunReady(ctx context.Context, ready func()) error {
	if !s.oneRun.TryLock() {
		return errRunning
	}
	defer s.oneRun.Unlock()
	childCtx, cancel := graceful(ctx, s.config.Grace)
	defer cancel()
	reason := ErrCrashed
	s.open()
	defer func() { s.close(reason) }()
	ready()
	for {
		s.takeMail(ctx)
		for n, ok := s.head(); ok; n, ok = s.head() {
			if n.kind == noticeEvents {
				s.start(childCtx, &child[T]{sub: n.link.sub, event: s.one()})
			} else {
				s.next++
				s.ended(childCtx, n.child, n.err)
			}
		}
		s.reportFree()
		if s.finished() && s.running == 0 {
			reason = s.reason
			return result(ctx, reason)
		}
		s.waker.wait(ctx, s.ending)
	}
}

// start starts an event's child. It is counted only when Start has returned: one that panics leaves
// no slot taken.
func (s *ConsumerSupervisor[T]) start(ctx context.Context, c *child[T]) {
	if err := s.config.Start(ctx, c.event, Slot[T]{stage: s, child: c, life: c.restarts}); err != nil {
		s.giveUp(c, err)
		return
	}
	s.running++
	c.sub.running++
}

// ended starts a failed child again, if it may be, or frees its slot.
func (s *ConsumerSupervisor[T]) ended(ctx context.Context, c *child[T], err error) {
	s.running--
	c.sub.running--
	switch {
	case Clean(err):
		s.free(c.sub)
	case s.config.Restart == Transient && c.restarts < *s.config.MaxRestarts:
		c.restarts++
		s.start(ctx, c)
	default:
		s.giveUp(c, err)
	}
}

func (s *ConsumerSupervisor[T]) giveUp(c *child[T], err error) {
	if s.config.OnGiveUp != nil {
		s.config.OnGiveUp(c.event, err)
	}
	s.free(c.sub)
}

// free makes a slot available: new events are asked for once min demand of them are. GenStage:
// consumer_supervisor.ex.
func (s *ConsumerSupervisor[T]) free(sub *Subscription[T]) {
	s.freed++
	if sub.options.Manual || sub.link == nil || !sub.link.open || sub.link.closing {
		return
	}
	sub.finished++
	if sub.finished >= sub.account.min {
		sub.from.post(request[T]{kind: requestAsk, link: sub.link, n: sub.finished})
		sub.finished = 0
	}
}

func (s *ConsumerSupervisor[T]) reportFree() {
	if s.freed > 0 && s.config.OnFree != nil {
		s.config.OnFree(s.freed)
	}
	s.freed = 0
}
