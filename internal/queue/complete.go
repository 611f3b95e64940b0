package queue

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// EndOf returns the event of the end of a life, nil if the events that are kept tell none.
func (s *Store) EndOf(ctx context.Context, p job.Place, life string) (*Event, error) {
	end, _, err := s.endOf(ctx, p, life)
	return end, err
}

// Complete does what is left to do of a life that has ended, and whose message is still in its queue, in nobody's
// hand: it writes the record of a dead job, keeps the id, counts the end in a workflow. Then it removes the message, so
// that the job does not run again. It reports false, and does nothing, if the events tell no end of that life.
func (s *Store) Complete(ctx context.Context, p job.Place, life string) (ended bool, err error) {
	for {
		end, last, err := s.endOf(ctx, p, life)
		if err != nil || end == nil {
			return false, err
		}
		m, err := s.findLife(ctx, p, life)
		if errors.Is(err, ErrNotFound) {
			return true, nil
		}
		if err != nil {
			return true, err
		}
		fired, err := s.letFire(ctx, p, m)
		if err != nil {
			return true, err
		}
		if fired {
			continue
		}
		t := &settlement{
			store: s, redelivered: true, // as far as anybody knows who has it: it has run
			Delivery: &Delivery{
				Record: m.Record, place: p, Seq: m.Seq, lastEvent: last, store: s,
				holder: "restore/" + life, lease: newLease(cancelWithin, time.Now()),
			},
		}
		t.Delivery.Life = life // of one that is later and whose publisher gave none
		if err := t.completeEnd(ctx, end); err != nil {
			return true, err
		}
		return true, t.ack(ctx)
	}
}

// A Held is an id that is kept taken after its job has ended.
type Held struct {
	Place job.Place
	Hold
}

// Holds yields the ids of a queue that are kept taken and whose messages came no later than a sequence.
func (s *Store) Holds(ctx context.Context, queue job.Name, upTo uint64) iter.Seq2[Held, error] {
	return func(yield func(Held, error) bool) {
		for m, err := range s.client.Scan(ctx, s.names.queueStream(queue), stream.Scan{Subject: s.names.allOnce(queue), UpTo: upTo}) {
			if err != nil {
				yield(Held{}, err)
				return
			}
			if p := s.names.placeOf(m.Subject); p != (job.Place{}) && !yield(Held{p, *holdOf(m)}, nil) {
				return
			}
		}
	}
}

// KeepTaken keeps an id taken as a hold did that is lost, unless a job has the id, it is kept already, or the time is
// over.
func (s *Store) KeepTaken(ctx context.Context, h Held) error {
	now, err := s.Now(ctx, h.Place.Queue)
	if err != nil || !h.Until.After(now) {
		return err
	}
	m := s.holdMsg(h.Place, h.Life, h.Until)
	stream.Expect(m, 0, s.names.check(h.Place))
	if _, err = s.confirm(ctx, m, stream.Within(cancelWithin)); errors.Is(err, stream.ErrConflict) {
		return nil
	}
	return wrap(err, "keep id %s", h.Place.ID)
}
