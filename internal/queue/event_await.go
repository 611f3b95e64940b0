package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
)

// How often an awaited job is looked at without a hint, and soon after one: the hint
// overtakes the stream, which stores the event a little later.
const (
	lookEvery     = 2 * time.Second
	lookAfterHint = 2 * time.Millisecond
	lookHintMost  = 500 * time.Millisecond

	// unheardMost is for JetStream to be there again after a start of its server.
	unheardMost = 30 * time.Second
)

// AwaitFinal waits for the final event of one life of a job and returns it. An empty
// life is the newest. It returns [ErrNotFound] when neither the queue nor the events
// know that life (any more), and ctx's cause when ctx ends, with the reason if nothing could be
// read until then. A broker that is away is waited for; one that refuses is not.
func (s *Store) AwaitFinal(ctx context.Context, p job.Place, life string) (*Event, error) {
	// Every publish to the event subject reaches plain subscribers too, refused ones
	// as well: a hint, not an event.
	hints := make(chan *nats.Msg, 16)
	sub, err := s.nc.ChanSubscribe(s.names.event(p), hints)
	if err != nil {
		return nil, wrap(err, "await %s", p.ID)
	}
	defer func() { _ = sub.Unsubscribe() }()
	pause := lookEvery
	var unread error      // why the last read failed, if ctx is not why
	var unheard time.Time // since when nobody is there to ask, though the broker is; zero: somebody is
	for {
		e, err := s.final(ctx, p, life)
		if ctx.Err() == nil {
			unread = err
		}
		switch {
		case err == nil && e != nil:
			return e, nil
		case isRefused(err), errors.Is(err, nats.ErrNoResponders) && !unheard.IsZero() && time.Since(unheard) > unheardMost:
			return nil, err
		case !errors.Is(err, nats.ErrNoResponders):
			unheard = time.Time{}
		case unheard.IsZero():
			unheard = time.Now()
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
				pause = lookAfterHint
			}
		case <-timer.C:
			if pause = 2 * pause; pause > lookHintMost {
				pause = lookEvery
			}
		}
	}
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
