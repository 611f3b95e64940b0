package queue

import (
	"context"
	"time"

	"github.com/millhand/millhand/internal/slots"
)

// StartTogether is [Delivery.Start] for jobs of one type and queue that one call of a handler runs, in
// one slot. It returns an error for each job that does not start, nil for those that do.
func StartTogether(ctx context.Context, held []*Delivery) []error {
	errs := make([]error, len(held))
	started, err := slots.StartTogether(ctx, ticketsOf(held))
	now := time.Now()
	for i, h := range held {
		switch {
		case err != nil:
			errs[i] = err
		case !started[i]:
			errs[i] = slots.ErrNoPermit
		default:
			if errs[i] = h.lease.check(now); errs[i] == nil {
				h.startedAt = now
				h.seenAt.Store(now.UnixNano())
			}
		}
	}
	return errs
}

// Ran notes that the handler has returned, or was given up, and returns how long it took, 0 if it was
// not called. The job has its slot until [FinishTogether].
func (h *Delivery) Ran() (ran time.Duration) {
	if !h.startedAt.IsZero() {
		ran = max(time.Since(h.startedAt), 1)
		h.finishedAt = h.startedAt.Add(ran)
	}
	h.left.Store(true)
	if p := h.progress.Load(); p != nil {
		p.end()
	}
	return ran
}

// FinishTogether gives back the slot of jobs that ran together for this long, after [Delivery.Ran] of
// each, and the permits of those whose handler was not given up.
func FinishTogether(held []*Delivery, ran time.Duration) { slots.FinishTogether(ticketsOf(held), ran) }

func ticketsOf(held []*Delivery) []*slots.Ticket {
	all := make([]*slots.Ticket, len(held))
	for i, h := range held {
		all[i] = &h.Ticket
	}
	return all
}
