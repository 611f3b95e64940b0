package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// againPause is the delay of a job that was handed out again while its handler has yet to return.
const againPause = time.Second

// adopt notes the consumer as it is now.
func (p *Puller) adopt(t *tenure) {
	p.tenure = t
	p.watch.next(watchEvent{what: consumerSeen, at: time.Now()})
}

// timePassed does what is due even if nothing has come.
func (p *Puller) timePassed(ctx context.Context) error {
	asks, starved := p.source.Starved()
	return p.act(ctx, p.watch.next(watchEvent{
		what: timePassed, at: time.Now(), starved: starved, asks: asks, busy: p.source.Busy(), lease: p.tenure.wait(),
	}))
}

// act does what the watch says.
func (p *Puller) act(ctx context.Context, a watchAction) error {
	if a == carryOn {
		return nil
	}
	info, err := p.poll(ctx)
	switch {
	case a == pollPermits && info != nil && !info.Paused:
		p.source.Waiting(info.NumPending)
	case a == pollBacklog:
		waiting := info != nil && !info.Paused && info.NumPending > 0 && p.source.Admits()
		if p.watch.next(watchEvent{what: backlogPolled, at: time.Now(), waiting: waiting}) == resubscribe {
			p.store.rebuilt.Add(1)
			p.log.WarnContext(ctx, "pull requests expire although jobs wait: subscribing again", slog.Uint64("count", info.NumPending))
			return p.reopen(ctx)
		}
	}
	return err
}

// poll asks the broker about the consumer. It returns nil if there was no answer, or if the consumer
// was gone and this puller has subscribed again.
func (p *Puller) poll(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	info, t, err := p.describe(ctx)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, p.reopen(ctx)
	case info == nil:
		return nil, nil //nolint:nilnil // no answer proves nothing
	case err != nil:
		return nil, err
	}
	p.adopt(t)
	p.tellPause(ctx, info)
	return info, nil
}

// describe returns the consumer as the broker describes it, nil if it does not, and its tenure.
// The error is about that description if there is one.
func (p *Puller) describe(ctx context.Context) (*jetstream.ConsumerInfo, *tenure, error) {
	asking, cancel := context.WithTimeout(ctx, pollWithin)
	defer cancel()
	info, err := p.store.consumerInfo(asking, p.queue, p.typ)
	if err != nil {
		return nil, nil, err
	}
	t, err := p.store.tenureOf(ctx, consumerPlace{p.queue, p.typ}, info)
	return info, t, err
}

// tellPause says once that somebody has paused the consumer, and once that it goes on.
func (p *Puller) tellPause(ctx context.Context, info *jetstream.ConsumerInfo) {
	switch {
	case info.Paused && !p.isPaused:
		p.log.WarnContext(ctx, "the broker holds the jobs of this type back: its consumer is paused; nats consumer resume ends that",
			slog.String("stream", info.Stream), slog.String("consumer", info.Name), slog.Duration("duration", info.PauseRemaining.Round(time.Second)))
	case !info.Paused && p.isPaused:
		p.log.InfoContext(ctx, "the consumer is not paused any more")
	}
	p.isPaused = info.Paused
}

// markRepeated marks jobs that somebody has had before, even if no worker has vanished, and jobs that
// should have come before one that came already. It reports whether there are any.
func (p *Puller) markRepeated(held []*Delivery) (found bool) {
	for _, h := range held {
		h.repeated = h.Delivered > 1 || h.Seq <= p.newest
		found = found || h.repeated
		p.newest = max(p.newest, h.Seq)
	}
	return found
}

// confirmLeases makes the leases of held those of the consumer as it is now.
func (p *Puller) confirmLeases(ctx context.Context, held []*Delivery) {
	_, t, err := p.describe(ctx)
	if err != nil {
		return // no answer proves nothing, and the next poll finds a wrong lease as well and ends the puller
	}
	p.adopt(t)
	for _, h := range held {
		h.lease.tenure = t
	}
}

// inHandAlready reports whether this worker has the job of h in hand already, and deals with h if so.
// A job must not run twice at once here, whatever the broker or its operator has forgotten.
func (p *Puller) inHandAlready(h *Delivery) bool {
	if !h.repeated && p.renewer.astray.Load() == 0 {
		return false
	}
	mine := p.renewer.inHand(h)
	if mine == nil {
		return false
	}
	p.log.Warn("the broker handed out a job that this worker has in hand", slog.String("id", h.ID))
	switch {
	case mine.Seq == h.Seq && mine.lease.regain(h.lease.since):
		return true // it is as good as a renewal
	case h.lease.check(time.Now()) != nil:
		return true
	case h.Delivered > 1, mine.left.Load():
		p.renewer.Keep(h)
		p.settler.Redelivered(h)
	default:
		p.renewer.Keep(h)
		p.settler.Settle(h, Outcome{Delay: againPause})
	}
	return true
}
