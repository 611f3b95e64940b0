package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// runRedelivered settles a message that another holder had and lost.
func (t *settlement) runRedelivered(ctx context.Context) error {
	last, err := t.readLastEvent(ctx)
	if err != nil {
		return err
	}
	events, err := t.events(ctx, last)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(events, func(e Event) bool { return e.Life == t.Life && e.Kind.Final() }); i >= 0 {
		if err := t.completeEnd(ctx, &events[i]); err != nil {
			return err
		}
		return t.ack(ctx)
	}
	newest, err := t.newestMessage(ctx)
	switch {
	case err != nil:
		return err
	case newest == nil:
		return t.ack(ctx) // ended, and removed, between the two reads
	case newest.Seq != t.Seq && newest.Life == t.Life:
		return t.ack(ctx) // its successor is in the queue
	case newest.Seq != t.Seq:
		if err := t.superseded(ctx); err != nil {
			return err
		}
		return t.ack(ctx)
	}
	succeeded, err := t.hasSucceeded(ctx)
	if err != nil {
		return err
	}
	t.lastEvent = last.Sequence
	t.Outcome = Outcome{Kind: job.EventLost}
	switch {
	case succeeded: // in silence
		t.Outcome = Outcome{Kind: job.EventSucceeded}
	case t.Malformed != nil:
		t.Outcome = Outcome{Kind: job.EventDead, Reason: job.ReasonMalformed, Error: t.Malformed.Error()}
	case t.Crashes >= job.MaxCrashes && t.Type != job.WorkflowType: // whose workflow would wait for ever
		t.Outcome = Outcome{
			Kind: job.EventDead, Reason: job.ReasonCrashed,
			Error: fmt.Sprintf("its worker vanished %d times while it ran", t.Crashes+1),
		}
	}
	return t.finish(ctx)
}

// completeEnd does what is left to do after the event of an end, but for the ack.
func (t *settlement) completeEnd(ctx context.Context, end *Event) error {
	t.Outcome = Outcome{Kind: end.Kind, Result: end.Output(), Reason: end.Reason, Error: end.Error, Stack: end.Stack}
	t.startedAt = end.StartedAt
	t.unstarted = end.Kind == job.EventCancelled && end.Holder != "" && end.StartedAt.IsZero()
	if err := t.completeBurial(ctx, end); err != nil {
		return err
	}
	if err := t.keepID(ctx); err != nil {
		return err
	}
	return t.arrive(ctx)
}

// completeBurial buries a dead job of which there is no record yet. What another message of the life
// ended with is left to whoever is handed that: it stays until all is done. If this one has left
// meanwhile, all was done, and the record that is missing was requeued or purged.
func (t *settlement) completeBurial(ctx context.Context, end *Event) error {
	if t.Kind != job.EventDead || end.Seq != t.Seq {
		return nil
	}
	if buried, err := t.buried(ctx); err != nil || buried {
		return err
	}
	if left, err := t.hasLeft(ctx); err != nil || left {
		return err
	}
	return t.bury(ctx)
}

// hasLeft reports whether the message in hand is not in the queue any more.
func (t *settlement) hasLeft(ctx context.Context) (bool, error) {
	_, err := readFor(ctx, t, "message", func(ctx context.Context) (*stream.Message, error) {
		return t.store.client.Get(ctx, t.store.names.queueStream(t.place.Queue), t.Seq)
	})
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return false, err
}
