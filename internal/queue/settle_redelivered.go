package queue

import (
	"context"
	"fmt"
	"slices"

	"github.com/millhand/millhand/internal/job"
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
	t.lastEvent = last.Sequence
	t.Outcome = Outcome{Kind: job.EventLost}
	switch {
	case t.Malformed != nil:
		t.Outcome = Outcome{Kind: job.EventDead, Reason: job.ReasonMalformed, Error: t.Malformed.Error()}
	case t.Crashes >= job.MaxCrashes:
		t.Outcome = Outcome{
			Kind: job.EventDead, Reason: job.ReasonCrashed,
			Error: fmt.Sprintf("its worker vanished %d times while it ran", t.Crashes+1),
		}
	}
	return t.finish(ctx)
}

// completeEnd does what is left to do after the event of an end, but for the ack.
func (t *settlement) completeEnd(ctx context.Context, end *Event) error {
	t.Outcome = Outcome{Kind: end.Kind, Reason: end.Reason, Error: end.Error, Stack: end.Stack}
	t.startedAt = end.StartedAt
	buried, err := t.buried(ctx)
	if err == nil && t.Kind == job.EventDead && !buried {
		err = t.bury(ctx)
	}
	if err != nil {
		return err
	}
	return t.keepID(ctx)
}
