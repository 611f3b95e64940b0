package stages

import (
	"context"
	"sync"
	"time"
)

// ConsumerConfig describes a Consumer.
type ConsumerConfig[T any] struct {
	Hooks[T]

	// Handle gets the events of one batch, at most max demand - min demand of them, from the
	// goroutine of Run. The slice is valid until it returns. An error ends the consumer; the batch
	// is not handled again.
	Handle func(ctx context.Context, batch []T) error

	// Grace is how long handlers go on after the context of Run was cancelled, before theirs is
	// cancelled too. Nil means as long as they need.
	Grace *time.Duration
}

// A Consumer handles events, no more of them than it has asked for.
type Consumer[T any] struct {
	*intake[T]
	oneRun sync.Mutex // held by the Run in progress
	handle func(ctx context.Context, batch []T) error
	grace  *time.Duration
}

// NewConsumer returns a consumer that is not running yet. The error wraps ErrInvalidOption.
func NewConsumer[T any](c ConsumerConfig[T]) (*Consumer[T], error) {
	if c.Handle == nil {
		return nil, invalid("a consumer needs Handle")
	}
	return &Consumer[T]{intake: newIntake(newWaker(), c.Hooks), handle: c.Handle, grace: c.Grace}, nil
}

// Run handles events until ctx is cancelled, and returns nil then; until a subscription ends that
// the consumer does not outlive, and returns its reason; or until Handle fails. Unless Handle
// failed, all that was delivered has been handled, which takes until every producer has confirmed
// that it delivers nothing more. Otherwise the next Run begins with it.
func (c *Consumer[T]) Run(ctx context.Context) error { return c.RunReady(ctx, func() {}) }

// RunReady is Run that reports when it has asked its producers for a subscription.
// Subscription.Wait tells when one of them has accepted.
func (c *Consumer[T]) RunReady(ctx context.Context, ready func()) error {
	if !c.oneRun.TryLock() {
		return errRunning
	}
	defer c.oneRun.Unlock()
	handling, cancel := graceful(ctx, c.grace)
	defer cancel()
	reason := ErrCrashed
	c.open()
	defer func() { c.close(reason) }()
	ready()
	reason = c.handleAll(ctx, handling)
	return result(ctx, reason)
}

func (c *Consumer[T]) handleAll(ctx, handling context.Context) error {
	for {
		c.takeMail(ctx)
		if _, ok := c.head(); ok {
			b := c.batch()
			if err := c.handle(handling, b.events); err != nil {
				return err
			}
			c.askAgain(ctx, b)
			continue
		}
		if c.finished() {
			return c.reason
		}
		c.waker.wait(ctx, c.ending)
	}
}

// graceful returns a context that outlives ctx by grace, or for as long as needed if grace is nil.
func graceful(ctx context.Context, grace *time.Duration) (context.Context, context.CancelFunc) {
	if grace != nil && *grace <= 0 {
		return context.WithCancel(ctx)
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if grace == nil {
		return lasting, cancel
	}
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(*grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-lasting.Done():
		}
	})
	return lasting, func() { stop(); cancel() }
}
