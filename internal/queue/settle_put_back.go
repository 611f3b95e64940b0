package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// putBack publishes the job's next message under the condition that the one in hand
// is the newest of its id. If it is not, a successor exists already, or a newer job
// has the id and this life ends.
func (t *settlement) putBack(ctx context.Context) error {
	if t.Delay > 0 {
		if err := t.replaceOlder(ctx); err != nil {
			return err
		}
	}
	m, err := t.successor(ctx)
	if err != nil {
		return err
	}
	expected := t.Seq
	for {
		stream.Expect(m, expected, t.store.names.check(t.place))
		_, err := t.write(ctx, m, "next message")
		switch {
		case err == nil:
			t.countPutBack()
			return nil
		case final(err):
			return t.cannotGoOn(ctx, err)
		case !errors.Is(err, stream.ErrConflict):
			return fmt.Errorf("successor: %w", err)
		}
		newest, err := t.newestMessage(ctx)
		switch {
		case err != nil:
			return err
		case newest == nil:
			// Nothing of the id is left. If it was cancelled, its last event says so;
			// else the stream lost it, and what we hold is all there is.
			if gone, err := t.endedElsewhere(ctx); err != nil || gone {
				return err
			}
			expected = 0
		case newest.Life == t.Life && newest.Seq == t.Seq:
			// What stood in the way has left between the refusal and this look.
			expected = t.Seq
			if err := stream.Sleep(ctx, stream.RetryPause); err != nil {
				return err
			}
		case newest.Life == t.Life:
			return nil // ours, its confirmation lost, or that of another holder
		default:
			return t.superseded(ctx)
		}
	}
}

// successor is the message that follows the one in hand: same id, life and payload.
func (t *settlement) successor(ctx context.Context) (*nats.Msg, error) {
	r := t.Record
	r.LastEvent = t.lastEvent
	r.From = t.holder
	r.RunTrace = cmp.Or(t.RunTraced(), r.RunTrace)
	r.Started = r.Started || t.Kind != "" // else it is handed back unstarted
	switch t.Kind {
	case job.EventRetrying:
		r.Attempt++
	case job.EventLost:
		r.Crashes++
	case job.EventHandedBack, job.EventSnoozed, "": // neither
	case job.EventSucceeded, job.EventDead, job.EventCancelled: // have none
	}
	if t.Delay <= 0 {
		return t.store.jobMsg(t.place, &r, time.Time{}), nil
	}
	now, err := t.now(ctx)
	if err != nil {
		return nil, err
	}
	r.Due = now.Add(t.Delay)
	return t.store.jobMsg(t.place, &r, r.Due), nil
}

// replaceOlder ends the life of another job that waits for its time under this id: there
// is one schedule per id, and ours will take its place. Such a job was there before a
// publisher skipped the check for a living id; none can come after.
func (t *settlement) replaceOlder(ctx context.Context) error {
	waiting, err := readFor(ctx, t, "waiting message", func(ctx context.Context) (*Message, error) {
		return t.store.message(ctx, t.place, t.store.names.later(t.place))
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || waiting.Life == t.Life || waiting.Seq > t.Seq {
		return err
	}
	if waiting.Life == "" {
		waiting.Life = lifeOf(waiting.Seq)
	}
	older := settlement{
		Delivery: &Delivery{Record: waiting.Record, place: t.place, Seq: waiting.Seq, holder: t.holder, lease: t.lease},
		store:    t.store,
		settler:  t.settler,
	}
	return older.superseded(ctx)
}

func (t *settlement) countPutBack() {
	if t.settler != nil {
		t.settler.counter.PutBack(t.Delivery, max(t.Delay, 0))
	}
}

// newestMessage reads the newest message of the id, nil if there is none. It may be the hold that
// a life has left: with the life in hand that has ended, with another one it has not.
func (t *settlement) newestMessage(ctx context.Context) (*Message, error) {
	if t.origin != "" { // it is the only one of the name that we gave it
		return &Message{Record: t.Record, Seq: t.Seq}, nil
	}
	m, err := readFor(ctx, t, "newest message", func(ctx context.Context) (*Message, error) {
		return t.store.message(ctx, t.place, t.store.names.check(t.place))
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // no message is an answer
	}
	return m, err
}

func (t *settlement) endedElsewhere(ctx context.Context) (bool, error) {
	last, err := t.readLastEvent(ctx)
	if err != nil {
		return false, err
	}
	own, _, err := t.ownEvent(ctx, last)
	return own != nil, err
}

// superseded ends this life because another job took its id, which only a publisher
// who skips the check for a living id can do.
func (t *settlement) superseded(ctx context.Context) error {
	t.confirmed = false
	t.Outcome = Outcome{
		Kind: job.EventCancelled, Reason: job.ReasonSuperseded,
		Error: "a newer job with the same id is in the queue",
	}
	for {
		history, err := readFor(ctx, t, "history", func(ctx context.Context) ([]Event, error) {
			return t.store.History(ctx, t.place, t.Life)
		})
		if err != nil {
			return err
		}
		t.lastEvent = 0
		for _, e := range history {
			if e.Life == t.Life && e.Kind.Final() {
				return t.completeEnd(ctx, &e)
			}
			t.lastEvent = e.Sequence
		}
		e := t.event(time.Now())
		_, err = t.publishEvent(ctx, &e)
		switch {
		case err == nil:
			t.count()
			return t.arrive(ctx)
		case errors.Is(err, stream.ErrConflict):
		case final(err):
			t.logUnwritten(ctx, err)
			return nil
		default:
			return err
		}
	}
}

// cannotGoOn ends a job that cannot be put back: its publisher used up all room, or its queue
// takes no message any more.
func (t *settlement) cannotGoOn(ctx context.Context, err error) error {
	text := t.overLimit(fmt.Sprintf("payload of %d bytes with the headers of a retry", len(t.Payload)), err)
	if !tooLarge(err) {
		text = fmt.Sprintf("cannot be put back into its queue: %v", err)
	}
	if t.Error != "" {
		text += "; last error: " + t.Error
	}
	t.confirmed = false
	t.Outcome = Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent, Error: text, Stack: t.Stack}
	if err := t.writeEvent(ctx); err != nil {
		return err
	}
	t.confirmed = true
	t.count()
	return t.bury(ctx)
}
