package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// writeEvent appends the outcome's event, on the condition that the last event known is still the
// last. An event that is too large is shortened. If the stream takes it in no form, that is logged
// and no error, since the job has to end all the same.
func (t *settlement) writeEvent(ctx context.Context) error {
	for {
		err := t.tryEvent(ctx)
		if !final(err) {
			return err
		}
		if !t.shrink(err) {
			t.logUnwritten(ctx, err)
			return nil
		}
	}
}

// logUnwritten logs what no event says, since the stream takes none of this job.
func (t *settlement) logUnwritten(ctx context.Context, err error) {
	t.store.log.ErrorContext(ctx, "the broker takes no event of this job in any form: what happened to it is only here",
		append(t.attrs(), slog.String("reason", t.Reason), slog.String("text", head(t.Error, maxErrorText)), slog.Any("err", err))...)
}

// publishEvent writes e once, on the condition that the last event known is still the last.
func (t *settlement) publishEvent(ctx context.Context, e *Event) (seq uint64, err error) {
	m, err := t.store.eventMsg(t.place, e)
	if err != nil {
		return 0, err
	}
	stream.Expect(m, t.lastEvent, m.Subject)
	seq, err = t.write(ctx, m, "event "+string(e.Kind))
	if err != nil && !errors.Is(err, stream.ErrConflict) {
		return 0, fmt.Errorf("event %s: %w", e.Kind, err)
	}
	return seq, err
}

// tryEvent is writeEvent without shortening. On a conflict it finds out what stands in the way.
func (t *settlement) tryEvent(ctx context.Context) error {
	e := t.event(time.Now())
	for {
		seq, err := t.publishEvent(ctx, &e)
		if !errors.Is(err, stream.ErrConflict) {
			if err == nil {
				t.lastEvent = seq
			}
			return err
		}
		last, err := t.readLastEvent(ctx)
		if err != nil {
			return err
		}
		own, newer, err := t.ownEvent(ctx, last)
		switch {
		case err != nil:
			return err
		case own != nil && own.Holder == t.holder && own.Kind == t.Kind && own.Seq == t.Seq:
			t.lastEvent = own.Sequence // ours: its confirmation was lost
			return nil
		case own != nil && t.requested() && requested(own):
			t.lastEvent, t.ByOther = own.Sequence, true
			return nil
		case own != nil:
			return errTaken
		case newer && !e.Overtaken:
			e.Overtaken = true
		}
		t.lastEvent = last.Sequence // of another life, or dropped by retention
	}
}

// ownEvent returns the event of this life that another holder has written behind the one that is
// known, nil if there is none, and whether a newer life has events. last is the id's last event,
// of whichever life.
func (t *settlement) ownEvent(ctx context.Context, last *Event) (own *Event, newer bool, err error) {
	events, err := t.events(ctx, last)
	for _, e := range events {
		switch {
		case e.Life != t.Life:
			newer = newer || e.Seq > t.Seq
		case own != nil && own.Kind.Final():
		case t.isNews(&e, last):
			own = &e
		}
	}
	return own, newer, err
}

// isNews reports whether e, of this life, says more than was known. The end of a life is the
// end, wherever it stands. Of the others, those behind the one that is known; but a number
// beyond the last event there is, which a publisher made up or another stream gave, says
// nothing, and then all that speak of this message or a later one count.
func (t *settlement) isNews(e, last *Event) bool {
	if t.lastEvent > last.Sequence {
		return e.Kind.Final() || e.Seq >= t.Seq
	}
	return e.Kind.Final() || e.Sequence > t.lastEvent
}

// events returns the id's events as far as they matter: the last one, or all, where
// those of several lives may be mixed. An older life can write behind a younger one, marked
// as overtaken, if a publisher skips the check for a living id.
func (t *settlement) events(ctx context.Context, last *Event) ([]Event, error) {
	switch {
	case last.Sequence == 0:
		return nil, nil
	case last.Life == t.Life:
		return []Event{*last}, nil
	case t.follows(last):
		return nil, nil
	}
	return readFor(ctx, t, "history", func(ctx context.Context) ([]Event, error) {
		return t.store.History(ctx, t.place, t.Life)
	})
}

// follows reports whether last, the id's last event, is the regular end of an older life. A
// successor, whose life began before its message, cannot tell that from one that came and went
// meanwhile.
func (t *settlement) follows(last *Event) bool {
	return t.From == "" && last.Life != t.Life && last.Seq < t.Seq && last.Kind.Final() && !last.overtaken()
}

// readLastEvent reads the id's last event; one of sequence 0 if there is none.
func (t *settlement) readLastEvent(ctx context.Context) (*Event, error) {
	e, err := readFor(ctx, t, "last event", func(ctx context.Context) (*Event, error) {
		return t.store.LastEvent(ctx, t.place)
	})
	if errors.Is(err, ErrNotFound) {
		return new(Event), nil
	}
	return e, err
}

// shrink takes from an outcome what makes its event too large: a result, without which the job
// is dead, then the stack, then most of the error. It reports false if there is nothing to take.
func (t *settlement) shrink(err error) bool {
	switch {
	case !tooLarge(err):
		return false
	case len(t.Result) > 0:
		t.Outcome = Outcome{
			Kind: job.EventDead, Reason: job.ReasonPermanent,
			Error: t.overLimit(fmt.Sprintf("result of %d bytes as an event", len(t.Result)), err),
		}
	case t.Stack != "":
		t.Stack = ""
	case len(t.Error) > shortErrorText:
		t.Error = head(t.Error, shortErrorText-len("…"))
	default:
		return false
	}
	return true
}

// overLimit says what is too large, and for whom.
func (t *settlement) overLimit(what string, err error) string {
	if errors.Is(err, nats.ErrMaxPayload) {
		limit := t.store.nc.MaxPayload()
		return fmt.Sprintf("%s is over the limit of %d bytes (%d KiB); store it elsewhere and send a reference", what, limit, limit>>10)
	}
	return fmt.Sprintf("%s is too large: %v; store it elsewhere and send a reference", what, err)
}

func (t *settlement) event(now time.Time) Event {
	e := Event{
		Kind: t.Kind, Life: t.Life, Seq: t.Seq, Time: now.UTC(),
		Node: t.store.cfg.Node, Holder: t.holder,
		Attempt: t.Attempt, Crashes: t.Crashes,
		Reason: head(t.Reason, maxReasonText), Error: head(t.Error, maxErrorText), Stack: head(t.Stack, maxStackText),
		EnqueuedAt: t.EnqueuedAt.UTC(), StartedAt: t.startedAt.UTC(),
	}
	if trace := t.RunTraced(); trace != "" {
		e.Trace = job.TraceID(trace)
	}
	if t.Delay > 0 {
		e.RunAt = e.Time.Add(t.Delay)
	}
	e.SetResult(t.Result)
	return e
}

// Lengths of texts whose writer is not known, or for which there is no more room, bytes.
const (
	maxReasonText  = 64
	shortErrorText = 200
)

// head returns the first n bytes of s, or a little less where that would cut a character.
func head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
