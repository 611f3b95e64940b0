package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
)

// How long one request waits for its answer, and the pause before it is sent again.
const (
	requestTimeout = 2 * time.Second
	retryPause     = 50 * time.Millisecond
	retryPauseMax  = time.Second
)

// confirm publishes m to a stream until the stream has answered, and returns the
// sequence it was given. It goes on through lost answers, lost connections and lost
// streams for as long as alive returns nil, which it asks before every attempt.
// It returns [errConflict] when m's condition does not hold. A caller that gets it after
// an answer was lost may be looking at its own write.
func (s *Store) confirm(ctx context.Context, m *nats.Msg, alive func() error) (uint64, error) {
	return s.confirmWith(ctx, m, retryPolicy{alive: alive, final: notPassing, maxPause: retryPauseMax})
}

// confirmWith is confirm under a policy of the caller's own.
func (s *Store) confirmWith(ctx context.Context, m *nats.Msg, p retryPolicy) (uint64, error) {
	var last error
	silent := 0 // attempts in a row without an answer
	for pause := retryPause; ; pause = min(2*pause, p.maxPause) {
		if err := p.alive(); err != nil {
			return 0, s.withCause(err, last)
		}
		seq, err := s.publish(ctx, m)
		switch {
		case err == nil, errors.Is(err, errConflict), errors.Is(err, nats.ErrConnectionClosed), ctx.Err() != nil:
			return seq, err
		case p.final(err):
			return 0, fmt.Errorf("publish %s: %w", m.Subject, err)
		case errors.Is(err, nats.ErrNoResponders):
			restored := s.restore(ctx)
			if p.refused == nil && stream.Final(restored) {
				return 0, restored
			}
			if restored != nil {
				err = fmt.Errorf("streams are missing and cannot be made: %w", restored)
			}
		case errors.Is(err, context.DeadlineExceeded) && silent > 0:
			// A subscriber of the subject keeps the server from saying that no stream is there.
			silent = 0
			s.restoreSoon(ctx)
		case errors.Is(err, context.DeadlineExceeded):
			silent++
		}
		last = err
		if p.refused != nil {
			p.refused(err)
		}
		s.Doubt()
		if err := sleep(ctx, pause); err != nil {
			return 0, err
		}
	}
}

// restoreSoon is restore if the broker answers at all.
func (s *Store) restoreSoon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, retryPauseMax)
	defer cancel()
	_ = s.restore(ctx) // what it could not do shows in the next attempt
}

// withCause adds to err, for which a write was given up, what its last attempt failed with.
func (s *Store) withCause(err, last error) error {
	if denied := s.nc.LastError(); errors.Is(denied, nats.ErrPermissionViolation) {
		last = denied // the server tells that apart from any request
	}
	if last == nil {
		return err
	}
	if p, ok := errors.AsType[*noAnswerError](err); ok && apiCode(last) != 0 {
		return fmt.Errorf("refused by the broker for %v: %w", p.within, last)
	}
	return fmt.Errorf("%w: %w", err, last)
}

// passing reports whether the same request may succeed soon, for a caller who waits.
func passing(err error) bool {
	if final(err) {
		return false
	}
	switch apiCode(err) {
	case 0:
		return true // no answer at all: timeout, reconnecting
	case codeWrongLastSeqBusy, codeNoResources, codeNoPeers, codeUnavailable, codeNotEnabled,
		codeIDInProcess, codeTooManyRequests:
		return true
	default:
		return false
	}
}

// publish sends m once and waits for the stream's answer.
func (s *Store) publish(ctx context.Context, m *nats.Msg) (uint64, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx) // and nobody can say that it was stored all the same
	}
	w := s.waiters.get()
	defer s.waiters.put(w)
	token, err := s.publisher.send(m, w)
	if err != nil {
		return 0, err
	}
	w.timer.Reset(requestTimeout)
	select {
	case a := <-w.answer:
		return a.seq, a.err
	case <-w.timer.C:
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	if s.publisher.forget(token) {
		return 0, err
	}
	a := <-w.answer // it is there, or about to be
	return a.seq, a.err
}

// last returns the newest message on subject, wildcards allowed, or [ErrNotFound].
func (s *Store) last(ctx context.Context, stream, subject string) (*stored, error) {
	return s.client.Last(ctx, stream, subject)
}

// next returns the first message on subject at or after from, or [ErrNotFound].
func (s *Store) next(ctx context.Context, stream, subject string, from uint64) (*stored, error) {
	return s.client.Next(ctx, stream, subject, from)
}

type stored = stream.Message

// retryRead repeats a read until it is answered, for as long as alive returns nil.
func retryRead[T any](ctx context.Context, alive func() error, read func(context.Context) (T, error)) (T, error) {
	for pause := retryPause; ; pause = min(2*pause, retryPauseMax) {
		var none T
		if err := alive(); err != nil {
			return none, err
		}
		v, err := read(ctx)
		if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, nats.ErrConnectionClosed) || ctx.Err() != nil {
			return v, err
		}
		if err := sleep(ctx, pause); err != nil {
			return none, err
		}
	}
}

// expect makes m conditional: the newest message on the filter has this sequence, 0 for none.
func expect(m *nats.Msg, seq uint64, filter string) {
	m.Header[headerExpectedSeq] = []string{strconv.FormatUint(seq, 10)}
	if filter != m.Subject {
		m.Header[headerExpectedOn] = []string{filter}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
