package worker

import (
	"context"
	"errors"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
)

// newOrders returns the orders to cancel that this worker heeds.
func (w *Worker) newOrders() *registry.Orders {
	return w.registry.NewOrders(registry.OrdersConfig{Node: w.cfg.ID, Tell: w.tell, Carry: w.carry, Logger: w.log})
}

// tell has the running jobs of an order end, and returns them, with those that have returned and whose
// end is being written. Those that it is not about since they run are returned as well: whoever
// cancels must leave them alone.
func (w *Worker) tell(o *job.Order) (running []job.Held) {
	spared := *o
	spared.States = nil
	for _, r := range w.runners {
		var told []*attempt
		r.mu.Lock()
		for a := range r.running {
			switch {
			case a.ended != nil && (a.ended.lost != nil || !a.ended.Kind.Final()):
				// It goes on as another message.
			case a.ended != nil && spared.Matches(&a.held.Record, job.Running):
				running = append(running, heldOf(a.held, true))
			case o.Matches(&a.held.Record, job.Running):
				told = append(told, a)
			case o.Many() && spared.Matches(&a.held.Record, job.Running):
				running = append(running, heldOf(a.held, false))
			}
		}
		r.mu.Unlock()
		for _, a := range told {
			a.endBy(o)
			running = append(running, heldOf(a.held, true))
		}
	}
	for _, h := range w.settler.Ending() {
		if spared.Matches(&h.Record, job.Running) {
			running = append(running, heldOf(h, true))
		}
	}
	return running
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
	if o.Kind.Final() {
		w.orders.Ended(&h.Record)
	}
}
