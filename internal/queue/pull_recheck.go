package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	recheckPause = time.Second // between looks at the consumer that deliveries give reason for
	againPause   = time.Second // until a job is handed out again whose handler has yet to return
)

// serve notes the consumer as it is now.
func (p *Puller) serve(t *tenure) { p.tenure, p.ackWait, p.looked = t, t.wait(), time.Now() }

// inspect looks at the consumer, on which all leases hang: who removes it, makes it anew or
// changes its lease tells nobody. It returns nil if there was no answer, or none that lets
// this subscription go on.
func (p *Puller) inspect(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	asking, cancel := context.WithTimeout(ctx, listenWithin)
	defer cancel()
	p.looked = time.Now()
	info, err := p.store.look(asking, p.queue, p.typ)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, p.reopen(ctx)
	case err != nil:
		return nil, nil //nolint:nilnil // no answer is no evidence
	}
	t, err := p.store.serve(ctx, consumerPlace{p.queue, p.typ}, info)
	if err != nil {
		return nil, err
	}
	p.serve(t)
	p.tellPause(ctx, info)
	return info, nil
}

// tellPause says once that somebody has paused the consumer, and once that it goes on.
func (p *Puller) tellPause(ctx context.Context, info *jetstream.ConsumerInfo) {
	switch {
	case info.Paused && !p.told:
		p.log.WarnContext(ctx, "the broker holds the jobs of this type back: its consumer is paused; nats consumer resume ends that",
			slog.String("stream", info.Stream), slog.String("consumer", info.Name), slog.Duration("left", info.PauseRemaining.Round(time.Second)))
	case !info.Paused && p.told:
		p.log.InfoContext(ctx, "the consumer is not paused any more")
	}
	p.told = info.Paused
}

// recheck looks at the consumer if deliveries give reason to: what somebody had before, though
// no worker may have vanished, and what was first handed out before what came already. The
// leases of held are those of the consumer as it is then.
func (p *Puller) recheck(ctx context.Context, held []*Delivery) {
	doubt := false
	for _, h := range held {
		h.repeated = h.Delivered > 1 || h.Seq <= p.newest
		doubt = doubt || h.repeated
		p.newest = max(p.newest, h.Seq)
	}
	if !doubt || time.Since(p.looked) < recheckPause {
		return
	}
	asking, cancel := context.WithTimeout(ctx, listenWithin)
	defer cancel()
	p.looked = time.Now()
	info, err := p.store.look(asking, p.queue, p.typ)
	if err != nil {
		return // no answer is no evidence
	}
	t, err := p.store.serve(ctx, consumerPlace{p.queue, p.typ}, info)
	if err != nil {
		return // which the next inspection finds as well, and ends the puller
	}
	p.serve(t)
	for _, h := range held {
		h.lease.tenure = t
	}
}

// again reports whether h is a job that this worker has in hand already, and deals with it: it
// must not run twice at once here, whatever the broker or somebody at its controls has forgotten.
func (p *Puller) again(h *Delivery) bool {
	if !h.repeated && p.renewer.astray.Load() == 0 {
		return false
	}
	mine := p.renewer.inHand(h)
	if mine == nil {
		return false
	}
	p.log.Warn("the broker handed out a job that this worker has in hand", slog.String("job_id", h.ID))
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
