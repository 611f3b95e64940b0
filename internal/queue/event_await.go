package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// AwaitFinal waits for the final event of one life of a job and returns it. An empty life is the
// newest. It returns [ErrNotFound] if neither the queue nor the events know that life (any more),
// and ctx's cause when ctx ends, with the last read's error if that failed. A broker that is away
// is waited for; one that refuses is not.
//
// However many callers wait, they share what they hear and one look at a time: see [waiters].
func (s *Store) AwaitFinal(ctx context.Context, p job.Place, life string) (*Event, error) {
	return s.await(ctx, s.newWaiter(p, life))
}

// AwaitStored is AwaitFinal for a job that has just been stored. Whether it is alive is not asked at
// first, which is half of what it costs to wait for a short job.
func (s *Store) AwaitStored(ctx context.Context, p job.Place, life string) (*Event, error) {
	w := s.newWaiter(p, life)
	w.alive = time.Now().Add(lookEvery)
	return s.await(ctx, w)
}

func (s *Store) newWaiter(p job.Place, life string) *waiter {
	return &waiter{
		place: p, subject: s.names.event(p), life: life,
		told: make(chan verdict, 1), lead: make(chan struct{}, 1), pause: lookAfterJoin, patience: lookEvery,
	}
}

func (s *Store) await(ctx context.Context, w *waiter) (*Event, error) {
	t := &s.waiters
	t.join(w)
	defer t.leave(w)
	select {
	case v := <-w.told:
		return v.event, v.err
	case <-w.lead:
		if v, ok := t.watch(ctx, w); ok {
			return v.event, v.err
		}
	case <-ctx.Done():
	}
	if err := t.unread(w); err != nil {
		return nil, fmt.Errorf("%w; what became of it could not be read: %w", context.Cause(ctx), err)
	}
	return nil, context.Cause(ctx)
}

// Final returns the final event of a life of a job, nil while it is alive, and [ErrNotFound] as
// [Store.AwaitFinal] does. An empty life is the newest.
func (s *Store) Final(ctx context.Context, p job.Place, life string) (*Event, error) {
	e, _, err := s.final(ctx, p, life)
	return e, err
}

// final returns the final event of a life, or nil and its message while it is alive.
func (s *Store) final(ctx context.Context, p job.Place, life string) (*Event, *Message, error) {
	// The event is read after the queue: a job that has left the queue has its event.
	m, err := s.Find(ctx, p)
	switch {
	case errors.Is(err, ErrNotFound):
		m = nil
	case err != nil:
		return nil, nil, err
	case life == "" && m.Life == "": // which it has once it is due
		return nil, m, nil
	case life == "":
		life = m.Life
	}
	e, err := s.finalEvent(ctx, p, life)
	if !errors.Is(err, ErrNotFound) || m == nil {
		return e, nil, err
	}
	if m.Life != life { // what somebody published over it may not be all there is
		m, err = s.findLife(ctx, p, life)
		return nil, m, err
	}
	return nil, m, nil
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
