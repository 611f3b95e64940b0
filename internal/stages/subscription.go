package stages

import "context"

// Mode says what the end of a subscription means for its consumer or, as the restart mode of a
// [ConsumerSupervisor], what the end of a child means for its event.
type Mode uint8

// The modes. Permanent is not a restart mode.
const (
	Permanent Mode = iota // the consumer ends with the subscription, whatever the reason
	Transient             // the consumer ends if the reason is not [Clean]; a child that failed is started again
	Temporary             // the consumer lives on; a child that ended is done, whatever it ended with
)

// DefaultMaxDemand is what a subscription keeps up if its options say nothing, as GenStage's do.
const DefaultMaxDemand = 1000

// SubscribeOptions are the terms between one consumer and one producer. The zero value is a
// permanent subscription that keeps between 500 and 1000 events asked for.
type SubscribeOptions[T any] struct {
	// MaxDemand is how many events may be asked for and not received. Zero means DefaultMaxDemand.
	MaxDemand int

	// MinDemand is how few events may be outstanding before the stage asks for more; it is less
	// than MaxDemand. Nil means half of MaxDemand, and zero that the stage asks when nothing is
	// outstanding.
	MinDemand *int

	// Manual has the stage ask for nothing by itself: [Subscription.Ask] does. Each delivery is one
	// batch.
	Manual bool

	// Cancel is what the end of the subscription means for the consumer. Zero means Permanent.
	Cancel Mode

	// Resubscribe has a consumer that outlives its producer subscribe again as soon as the producer
	// runs again.
	Resubscribe bool

	// Selector is for a [BroadcastDispatcher]: which events to get, nil for all. The producer calls
	// it.
	Selector func(T) bool

	// Partition is for a [PartitionDispatcher]: whose events to get.
	Partition int

	stage any // which stage subscribes
}

// withDefaults returns the options with every default filled in, or an error that wraps
// ErrInvalidOption.
func (o SubscribeOptions[T]) withDefaults() (SubscribeOptions[T], error) {
	if o.MaxDemand == 0 {
		o.MaxDemand = DefaultMaxDemand
	}
	if o.MinDemand == nil {
		o.MinDemand = new(o.MaxDemand / 2)
	}
	switch {
	case o.MaxDemand < 1:
		return o, invalid("max demand is %d, want at least 1", o.MaxDemand)
	case *o.MinDemand < 0 || *o.MinDemand >= o.MaxDemand:
		return o, invalid("min demand is %d, want 0 to %d", *o.MinDemand, o.MaxDemand-1)
	case o.Cancel > Temporary:
		return o, invalid("cancel mode is %d, want Permanent, Transient or Temporary", o.Cancel)
	}
	return o, nil
}

// A Subscription is a consumer's standing wish for a producer's events. It outlives restarts of
// both: each Run of the consumer, and with Resubscribe each Run of the producer, opens it again.
// Its methods may be called from any goroutine.
type Subscription[T any] struct {
	from    *outlet[T]
	to      *intake[T]
	options SubscribeOptions[T]
	account demand // what that of each attachment begins with

	// The rest is owned by the goroutine of the consumer's Run.
	link      *link[T] // the present attachment; nil: none
	asked     int      // of a manual one: events asked for that neither came nor were returned
	running   int      // of a ConsumerSupervisor: children of this subscription
	finished  int      // of a ConsumerSupervisor: ended children not asked for again yet
	cancelled bool     // by Cancel: it will not be opened again

	resolved   chan struct{} // closed when the producer first accepted, or the subscription ended before it did
	isResolved bool          // whether resolved is closed
	outcome    error         // why it ended before; valid after resolved is closed
}

// link is one attachment of a subscription to a Run of its producer: what GenStage calls a
// subscription reference. A new one for each attachment makes messages about an earlier one
// harmless.
type link[T any] struct {
	sub     *Subscription[T]
	id      ConsumerID // owned by the producer
	open    bool       // owned by the consumer: the producer has accepted
	closing bool       // owned by the consumer: it has cancelled and waits for the producer to say so
	account demand     // owned by the consumer; not of a manual subscription
}

// Ask asks for n more events on a manual subscription. Each of them arrives, or comes back through
// OnReturn: also if the subscription is not open at the moment. But each Run of the consumer begins
// without demand, and what was asked for before does not come back in it. n < 1 asks for nothing.
func (s *Subscription[T]) Ask(n int) {
	if n > 0 {
		s.to.post(notice[T]{kind: noticeAsk, sub: s, n: n})
	}
}

// Wait returns when the producer has accepted the subscription for the first time: from then on
// what it emits is for this consumer too. Before both stages run it waits, at most until ctx is
// done. An error is the reason why the subscription ended before; it matches
// [supervisor.ErrShutdown] if it was cancelled for no other.
func (s *Subscription[T]) Wait(ctx context.Context) error {
	select {
	case <-s.resolved:
		return s.outcome
	case <-ctx.Done():
		return ctx.Err()
	}
}

// resolve ends every Wait.
func (s *Subscription[T]) resolve(outcome error) {
	if !s.isResolved {
		s.isResolved, s.outcome = true, outcome
		close(s.resolved)
	}
}

// Cancel ends the subscription for good. What has been delivered is handled first; then the cancel
// mode decides what reason means to the consumer.
func (s *Subscription[T]) Cancel(reason error) {
	s.to.post(notice[T]{kind: noticeCancel, sub: s, err: reason})
}

// Resubscribe replaces the subscription by another one to the same producer: Cancel with reason,
// then Subscribe.
func (s *Subscription[T]) Resubscribe(reason error, o SubscribeOptions[T]) (*Subscription[T], error) {
	next, err := newSubscription(s.from, s.to, o)
	if err != nil {
		return nil, err
	}
	s.Cancel(reason)
	s.to.post(notice[T]{kind: noticeSubscribe, sub: next})
	return next, nil
}

// A Source is a stage that can be subscribed to: a Producer or a Processor.
type Source[T any] interface {
	source() *outlet[T]
}

func newSubscription[T any](from *outlet[T], to *intake[T], o SubscribeOptions[T]) (*Subscription[T], error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	o.stage = to
	account := demand{max: o.MaxDemand, min: *o.MinDemand}
	return &Subscription[T]{from: from, to: to, options: o, account: account, resolved: make(chan struct{})}, nil
}
