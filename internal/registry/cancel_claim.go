package registry

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// claimOld carries out orders that are not carried out and that nobody has written to for half a
// minute: whoever gave one may have died at any step.
func (o *Orders) claimOld(ctx context.Context) {
	for stream.Sleep(ctx, claimEvery/2+rand.N(claimEvery)) == nil {
		now := time.Now()
		o.forget(now.Add(-orderTTL))
		for _, order := range o.old(now) {
			o.claim(ctx, order)
		}
	}
}

// old returns what is to be claimed, the oldest first.
func (o *Orders) old(now time.Time) (orders []*job.Order) {
	o.mu.Lock()
	defer o.mu.Unlock()
	add := func(k *knownOrder) {
		if !k.Done && now.Sub(k.since) >= claimAfter {
			order := *k.Order
			orders = append(orders, &order)
		}
	}
	for _, k := range o.one {
		add(k)
	}
	for _, k := range o.many {
		add(k)
	}
	slices.SortFunc(orders, func(a, b *job.Order) int { return a.At.Compare(b.At) })
	return orders
}

func (o *Orders) claim(ctx context.Context, order *job.Order) {
	switch err := o.store.RenewOrder(ctx, order); {
	case errors.Is(err, stream.ErrConflict):
		return // somebody else has it
	case err == nil:
		err = o.cfg.Carry(ctx, order)
		if err == nil || ctx.Err() != nil {
			return
		}
		fallthrough
	default:
		o.cfg.Logger.WarnContext(ctx, "an order to cancel is not carried out yet, and will be tried again",
			slog.String("key", orderKey(order)), slog.Any("err", err))
	}
}

// noteEnded has orders noted as done whose jobs have ended here.
func (o *Orders) noteEnded(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case order := <-o.ended:
			if err := o.store.OrderDone(ctx, &order); err != nil {
				o.cfg.Logger.DebugContext(ctx, "an order to cancel is not noted as carried out", slog.Any("err", err))
			}
		}
	}
}
