package queue

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

const (
	// defaultPatience is how long an enqueue waits for an answer.
	defaultPatience = 4 * time.Second
	// rememberedFor is how long an enqueue is sent again and again, trusting that the broker knows
	// the message by its id, which it forgets after DedupWindow.
	rememberedFor = DedupWindow - 10*time.Second
)

// errForgotten says that the broker may not know any more what it stored.
var errForgotten = errors.New("the broker may have forgotten the message's id")

// An effort is an enqueue that has not got its answer yet.
type effort struct {
	alive func() error // the error that ends it, once it took too long
	since time.Time    // when it was sent first, if it was
}

// newEffort is one that begins now.
func (s *Store) newEffort() effort { return effort{alive: s.patience(), since: time.Now()} }

// patience returns what ends an enqueue that takes too long from now on.
func (s *Store) patience() (alive func() error) {
	switch {
	case s.cfg.Patience == 0:
		return stream.Within(defaultPatience)
	case s.cfg.Patience < 0:
		return stream.Within(math.MaxInt64)
	}
	return stream.Within(s.cfg.Patience)
}

// remembered is what ends the sending for now: then it has to be looked whether the job is stored.
func (f effort) remembered() error {
	if err := f.alive(); err != nil {
		return err
	}
	if time.Since(f.since) > rememberedFor {
		return errForgotten
	}
	return nil
}

// isStored reports whether a job that was sent is stored, or was and has ended since. Of a type that
// leaves no event of a success it cannot tell the latter.
func (s *Store) isStored(ctx context.Context, e Enqueue, alive func() error) (bool, error) {
	m, err := stream.RetryRead(ctx, alive, func(ctx context.Context) (*Message, error) { return s.Find(ctx, e.place) })
	switch {
	case err == nil && m.Life == e.Record.Life:
		return true, nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return false, err
	}
	return stream.RetryRead(ctx, alive, func(ctx context.Context) (bool, error) { return s.hasEvent(ctx, e.place, e.Record.Life) })
}

// hasEvent reports whether an event of a life is known.
func (s *Store) hasEvent(ctx context.Context, p job.Place, life string) (found bool, err error) {
	err = s.eachEvent(ctx, p, func(e *Event) bool {
		found = e.Life == life
		return !found
	})
	return found, err
}
