package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
)

// How often an awaited job is read without a hint, and how soon after one: the hint overtakes the
// stream, which stores the event a little later. Each pause after a hint is twice the one before.
const (
	pollEvery      = 2 * time.Second
	pollAfterHint  = 2 * time.Millisecond
	pollHintedMost = 500 * time.Millisecond
)

// startupMax is how long JetStream may take to answer after its server has started.
const startupMax = 30 * time.Second

// AwaitFinal waits for the final event of one life of a job and returns it. An empty life is the
// newest. It returns [ErrNotFound] if neither the queue nor the events know that life (any more),
// and ctx's cause when ctx ends, with the last read's error if that failed. A broker that is away
// is waited for; one that refuses is not.
func (s *Store) AwaitFinal(ctx context.Context, p job.Place, life string) (*Event, error) {
	// Every publish to the event subject reaches plain subscribers too, refused ones
	// as well: a hint, not an event.
	hints := make(chan *nats.Msg, 16)
	sub, err := s.nc.ChanSubscribe(s.names.event(p), hints)
	if err != nil {
		return nil, wrap(err, "await %s", p.ID)
	}
	defer func() { _ = sub.Unsubscribe() }()
	var unread error // why the last read failed
	var absent outage
	for pause := pollEvery; ; {
		e, err := s.final(ctx, p, life)
		switch {
		case err == nil && e != nil:
			return e, nil
		case isRefused(err), absent.lasts(err) > startupMax:
			return nil, err
		case ctx.Err() == nil: // which would be why
			unread = err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			if unread != nil {
				return nil, fmt.Errorf("%w; what became of it could not be read: %w", context.Cause(ctx), unread)
			}
			return nil, context.Cause(ctx)
		case m := <-hints:
			timer.Stop()
			if job.EventKind(m.Header.Get(headerEvent)).Final() {
				pause = pollAfterHint
			}
		case <-timer.C:
			if pause = 2 * pause; pause > pollHintedMost {
				pause = pollEvery
			}
		}
	}
}

// An outage is a time in which the broker answers and nobody behind it does. The zero value is none.
type outage struct{ since time.Time }

// lasts returns for how long reads have ended with [nats.ErrNoResponders], err being the latest.
func (o *outage) lasts(err error) time.Duration {
	switch {
	case !errors.Is(err, nats.ErrNoResponders):
		o.since = time.Time{}
		return 0
	case o.since.IsZero():
		o.since = time.Now()
	}
	return time.Since(o.since)
}

// isRefused reports whether a read that failed with err will fail again, however often it is
// tried: the answer was definite.
func isRefused(err error) bool {
	return err != nil && (errors.Is(err, ErrNotFound) || errors.Is(err, nats.ErrConnectionClosed) ||
		errors.Is(err, nats.ErrPermissionViolation) || !passing(err))
}

// final returns the final event of a life, nil while it is alive.
func (s *Store) final(ctx context.Context, p job.Place, life string) (*Event, error) {
	// The event is read after the queue: a job that has left the queue has its event.
	m, err := s.Find(ctx, p)
	waiting := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if life == "" && waiting {
		if m.Life == "" { // it has one when it is due
			return nil, nil //nolint:nilnil // alive
		}
		life = m.Life
	}
	e, err := s.finalEvent(ctx, p, life)
	if errors.Is(err, ErrNotFound) && waiting && m.Life == life {
		return nil, nil //nolint:nilnil // alive
	}
	return e, err
}

// finalEvent returns the final event of a life, of the newest if life is empty, or
// [ErrNotFound].
func (s *Store) finalEvent(ctx context.Context, p job.Place, life string) (*Event, error) {
	last, err := s.LastEvent(ctx, p)
	if err != nil {
		return nil, err
	}
	if (life == "" || last.Life == life) && last.Kind.Final() {
		return last, nil
	}
	var final *Event
	err = s.eachEvent(ctx, p, func(e *Event) bool {
		if e.Life == life && e.Kind.Final() {
			final = e
		}
		return final == nil
	})
	if err == nil && final == nil {
		err = ErrNotFound
	}
	return final, err
}
