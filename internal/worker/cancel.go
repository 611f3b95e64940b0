package worker

import (
	"context"
	"errors"
	"slices"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
)

// newOrders returns the orders to cancel that this worker heeds.
func (w *Worker) newOrders() *registry.Orders {
	return w.registry.NewOrders(registry.OrdersConfig{
		Node: w.cfg.ID, TTL: w.cfg.PermitTTL, Tell: w.tell, Carry: w.carry, Logger: w.log,
	})
}

// tell has the running jobs of an order end, and returns them, with those that have returned and whose
// end is being written. Those that it is not about since they run are among them: whoever cancels
// must leave them alone.
func (w *Worker) tell(o *job.Order) (held []job.Held) {
	for _, r := range w.runners {
		for _, a := range r.about(o, &held) {
			a.endBy(o)
		}
	}
	spared := spared(o)
	told := len(held)
	for _, h := range w.settler.Ending() { // after the others, which go from there to here
		isOf := func(one job.Held) bool { return one.Type == h.Type && one.ID == h.ID && one.Life == h.Life }
		if spared.Matches(&h.Record, job.Running) && !slices.ContainsFunc(held[:told], isOf) {
			held = append(held, heldOf(h, true))
		}
	}
	return held
}

// about returns the attempts that an order ends, and adds to held what becomes of those that it is
// about.
func (r *runner) about(o *job.Order, held *[]job.Held) (end []*attempt) {
	spared := spared(o)
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := range r.running {
		switch {
		case a.final && spared.Matches(&a.held.Record, job.Running):
			*held = append(*held, heldOf(a.held, true))
		case a.ended: // if it is not final, it goes on as another message
		case o.Matches(&a.held.Record, job.Running):
			end = append(end, a)
			told := heldOf(a.held, true)
			told.Batch = a.together != nil && len(a.together.attempts) > 1
			*held = append(*held, told)
		case spared.Matches(&a.held.Record, job.Running):
			*held = append(*held, heldOf(a.held, false))
		}
	}
	return end
}

// spared is an order with jobs in any state.
func spared(o *job.Order) *job.Order {
	all := *o
	all.States = nil
	return &all
}

func heldOf(h *queue.Delivery, told bool) job.Held {
	return job.Held{Type: h.Type, ID: h.ID, Life: h.Life, Told: told}
}

// carry carries out the order of somebody who seems to be dead.
func (w *Worker) carry(ctx context.Context, o *job.Order) error {
	if o.Many() {
		for _, err := range w.store.CarryOutMany(ctx, o, w.registry) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	_, err := w.store.CarryOut(ctx, o, w.registry)
	if _, finished := errors.AsType[*queue.FinishedError](err); finished || errors.Is(err, queue.ErrNotFound) {
		return nil
	}
	return err
}

// settled is told how each run ended.
func (w *Worker) settled(h *queue.Delivery, o *queue.Outcome) {
	w.failures.note(h, o)
	w.counts.settled(h)
	if o.Kind == job.EventCancelled && !o.ByOther && h.StartedAt().IsZero() {
		w.orders.Dropped(&h.Record, h)
	}
	if o.Kind.Final() {
		w.orders.Ended(&h.Record)
	}
}
