package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

const (
	sweepMisplaced = 16          // messages that are looked at in a pass
	foreignType    = "malformed" // under which a message is buried whose type is none
	buryWithin     = 10 * time.Second
)

// buryMisplaced looks at some of the queue's messages for those that no consumer is handed: their
// type or id is no name. They stay while others leave, so that they gather at the head; since
// jobs of a type that nobody runs do so as well, every other pass goes on where one ended.
func (w *Sweeper) buryMisplaced(ctx context.Context, now time.Time) error {
	from := uint64(0)
	if w.odd {
		from = w.place
	}
	w.odd = !w.odd
	for range sweepMisplaced {
		m, err := w.store.client.Next(ctx, w.store.names.queueStream(w.queue), ">", from) // a filter of our subjects does not find a ">" in them
		if errors.Is(err, ErrNotFound) {
			w.place = 0
			return nil
		}
		if err != nil {
			return err
		}
		from = m.Seq + 1
		if _, err := w.buryIfMisplaced(ctx, m, now); err != nil {
			return err
		}
	}
	w.place = max(w.place, from)
	return nil
}

// buryIfMisplaced buries m, if its subject is no job's and no consumer was handed it for a while.
func (w *Sweeper) buryIfMisplaced(ctx context.Context, m *stream.Message, now time.Time) (misplaced bool, err error) {
	if _, ok := w.store.names.parseJobSubject(m.Subject); !ok {
		return false, nil // the pin, or of a newer version
	}
	h := &Delivery{lease: newLease(buryWithin, time.Now())}
	why := h.readPlace(w.store.names, m.Subject)
	if m.Subject == w.store.names.probe(w.queue) { // of a worker that is gone, or looks now
		if now.Sub(m.Time) < sweepOverdue {
			return true, nil
		}
		return true, w.store.client.Remove(ctx, w.store.names.queueStream(w.queue), m.Seq)
	}
	if why == nil || now.Sub(m.Time) < sweepOverdue {
		return why != nil, nil
	}
	typ, err := w.typeOf(m)
	if err != nil {
		return true, err
	}
	_ = h.ReadHeader(m.Header) // what can be read is kept
	h.Seq, h.Payload = m.Seq, m.Data
	h.holder = w.store.holder(w.store.deliveries.Add(1))
	if h.EnqueuedAt.IsZero() {
		h.EnqueuedAt = m.Time
	}
	h.misplaced(w.queue, typ, m.Subject, why)
	h.Queue, h.Type, h.ID = h.place.Queue.String(), h.place.Type.String(), h.place.ID.String()
	t := &settlement{store: w.store, Delivery: h, redelivered: true}
	if err := t.run(ctx); err != nil && !errors.Is(err, errTaken) {
		return true, err
	}
	w.log.WarnContext(ctx, "a message in the queue is no job, and nobody would have been handed it: buried",
		slog.String("subject", head(h.origin, maxSubjectShown)), slog.String("id", h.ID), slog.String("type", h.Type), slog.Any("err", why))
	return true, nil
}

// typeOf is the type that a misplaced message names, or one that stands for none.
func (w *Sweeper) typeOf(m *stream.Message) (job.Name, error) {
	if r, ok := w.store.names.parseJobSubject(m.Subject); ok {
		if typ, err := job.TypeName(r.Type); err == nil {
			return typ, nil
		}
	}
	return job.TypeName(foreignType)
}
