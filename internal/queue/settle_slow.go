package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A settlement is one job on its way out of this worker's hand. Every write is
// conditional, so of several holders of one job only one gets through, whatever
// their clocks say. The order is the rule: whoever crashes between two writes
// leaves a job that runs again, never one that is gone.
type settlement struct {
	*Delivery
	Outcome
	store       *Store
	redelivered bool
	confirmed   bool // its event is stored, or not wanted: what follows is the effect
	ends        bool // the job ran, and does not run again: as it was handed over
	unstarted   bool // whoever lost it has ended it before a run began

	settler *Settler
	state   settleState // the [tracker]'s
	sent    time.Time   // its event, on the fast path; this and token are of Run's goroutine
	token   uint64      // of that write; 0 until it is sent, and in a batch
}

// settleSlowly settles t step by step. What a settler has no more time for stays open.
func (s *Settler) settleSlowly(work context.Context, t *settlement) {
	err := t.run(work)
	if work.Err() != nil && (errors.Is(err, errStopped) || errors.Is(err, context.Canceled)) {
		return
	}
	s.store.refused.drop(t)
	s.renewer.Release(t.Delivery)
	s.room.leave(t.weight)
	s.tracker.settled(t)
	if err == nil && t.Delay > 0 {
		t.Remind(t.Delay)
	}
	s.report(t, err)
}

// errStopped ends what a settler that stops has no more time for.
var errStopped = errors.New("the settler stops")

func (t *settlement) run(ctx context.Context) error {
	switch {
	case t.Ended:
		return t.runEnded(ctx)
	case t.redelivered:
		return t.runRedelivered(ctx)
	case t.confirmed:
		return t.finishEffect(ctx)
	}
	return t.finish(ctx)
}

// runEnded removes the message of a job that had ended before it came. If it is known how and no event says so, one does
// from now on: each job that was in its queue has an end.
func (t *settlement) runEnded(ctx context.Context) error {
	switch {
	case t.Kind == "":
		return t.ack(ctx)
	case t.confirmed:
		return t.finishEffect(ctx)
	}
	last, err := t.readLastEvent(ctx)
	if err != nil {
		return err
	}
	events, err := t.events(ctx, last)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(events, func(e Event) bool { return e.Life == t.Life && e.Kind.Final() }) {
		return t.ack(ctx)
	}
	t.lastEvent = last.Sequence
	return t.finish(ctx)
}

// finish writes event, effect and ack of the outcome.
func (t *settlement) finish(ctx context.Context) error {
	if t.Kind != "" {
		if err := t.writeEvent(ctx); err != nil {
			return err
		}
		t.confirmed = true // so that it is not said twice if the settler stops in between
		t.count()
	}
	return t.finishEffect(ctx)
}

// finishEffect writes what follows the event.
func (t *settlement) finishEffect(ctx context.Context) error {
	var err error
	switch t.Kind {
	case job.EventDead:
		err = t.bury(ctx)
	case job.EventRetrying, job.EventSnoozed, job.EventHandedBack, job.EventLost, "":
		err = t.putBack(ctx)
	case job.EventSucceeded, job.EventCancelled:
	}
	if err == nil {
		err = t.keepID(ctx)
	}
	if err == nil {
		err = t.arrive(ctx)
	}
	if err != nil {
		return err
	}
	return t.ack(ctx)
}

// ack removes the message. It is the last write, so it need not be confirmed: without
// it the next holder finds everything done.
func (t *settlement) ack(ctx context.Context) error {
	for {
		if err := t.Alive(); err != nil {
			return err
		}
		if t.reply == "" { // nobody was handed it
			return t.store.client.Remove(ctx, t.store.names.queueStream(t.place.Queue), t.Seq)
		}
		err := t.store.nc.Publish(t.reply, t.store.ackBody)
		if err == nil || errors.Is(err, nats.ErrConnectionClosed) {
			return err
		}
		if err := stream.Sleep(ctx, stream.RetryPause); err != nil {
			return err
		}
	}
}
