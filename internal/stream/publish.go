package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Send publishes m to a stream and does not wait for the answer. It sets the reply subject of m
// and keeps nothing else of it. Unless it returns an error, to will have the answer or is to be
// forgotten by the token.
func (c *Client) Send(m *nats.Msg, to Receiver) (token uint64, err error) {
	return c.publisher.send(c, m, to)
}

// Forget gives up waiting for the answer to a [Client.Send]. It reports false if that was given
// already, or is being given.
func (c *Client) Forget(token uint64) bool { return c.publisher.forget(token) }

// Publish sends m to a stream once, waits for the answer and returns the sequence of the stored
// message. It returns [ErrConflict] if the condition of m does not hold. After
// [context.DeadlineExceeded] it may be stored or not.
func (c *Client) Publish(ctx context.Context, m *nats.Msg) (seq uint64, err error) {
	if c.cfg.Wrote != nil {
		defer c.wrote(m.Subject, time.Now())
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx) // and nobody can say that it was stored all the same
	}
	w := c.waiters.get()
	defer c.waiters.put(w)
	token, err := c.publisher.send(c, m, w)
	if err != nil {
		return 0, err
	}
	w.timer.Reset(RequestTimeout)
	select {
	case a := <-w.answer:
		return a.seq, a.err
	case <-w.timer.C:
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	if c.publisher.forget(token) {
		return 0, c.denied(m.Subject, err)
	}
	a := <-w.answer // it is there, or about to be
	return a.seq, a.err
}

func (c *Client) wrote(subject string, began time.Time) { c.cfg.Wrote(subject, time.Since(began)) }

// Pauses between two attempts.
const (
	RetryPause    = 50 * time.Millisecond // the first, doubled each time
	MaxRetryPause = time.Second           // unless a [RetryPolicy] has another
)

// A RetryPolicy says how long a write is tried, and what is done when it does not get through.
type RetryPolicy interface {
	// Alive is asked before each attempt. Its error ends them.
	Alive() error
	// Final reports whether an error ends them.
	Final(err error) bool
	// Restore makes the streams that are missing.
	Restore(ctx context.Context) error
	// Failed is told of each error that does not end them.
	Failed(err error)
}

// A MissingError says that streams are missing and why they cannot be made.
type MissingError struct{ Err error }

func (e *MissingError) Error() string {
	return "streams are missing and cannot be made: " + e.Err.Error()
}

// Unwrap returns the error that making them failed with.
func (e *MissingError) Unwrap() error { return e.Err }

// Confirm publishes m until a stream has answered, and returns the sequence of the stored
// message. It goes on through lost answers, lost connections and lost streams for as long as the
// policy says, with pauses of up to maxPause.
//
// It returns [ErrConflict] if the condition of m does not hold. A caller that gets it after an
// answer was lost may be looking at its own write. It returns what the policy has for final, but
// of a [MissingError] what it is about.
func (c *Client) Confirm(ctx context.Context, m *nats.Msg, p RetryPolicy, maxPause time.Duration) (seq uint64, err error) {
	return c.confirm(ctx, m.Subject, p, maxPause, func(ctx context.Context) (uint64, error) { return c.Publish(ctx, m) })
}

// confirm repeats a publish of what, which is for its error.
func (c *Client) confirm(ctx context.Context, what string, p RetryPolicy, maxPause time.Duration, publish func(context.Context) (uint64, error)) (seq uint64, err error) {
	var last error
	silent := 0 // attempts in a row without an answer
	for pause := RetryPause; ; pause = min(2*pause, maxPause) {
		if err := p.Alive(); err != nil {
			return 0, c.withCause(err, last)
		}
		seq, err := publish(ctx)
		switch {
		case err == nil, errors.Is(err, ErrConflict), errors.Is(err, nats.ErrConnectionClosed), ctx.Err() != nil:
			return seq, err
		case p.Final(err):
			return 0, fmt.Errorf("publish %s: %w", what, err)
		case errors.Is(err, nats.ErrNoResponders):
			if cause := p.Restore(ctx); cause != nil {
				err = &MissingError{Err: cause}
				if p.Final(err) {
					return 0, cause
				}
			}
		case errors.Is(err, context.DeadlineExceeded) && silent > 0:
			// A subscriber of the subject keeps the server from saying that no stream is there.
			silent = 0
			restoreSoon(ctx, p)
		case errors.Is(err, context.DeadlineExceeded):
			silent++
		}
		last = err
		p.Failed(err)
		if err := Sleep(ctx, pause); err != nil {
			return 0, err
		}
	}
}

// restoreSoon restores if the broker answers at all. What it could not do shows in the next
// attempt.
func restoreSoon(ctx context.Context, p RetryPolicy) {
	ctx, cancel := context.WithTimeout(ctx, MaxRetryPause)
	defer cancel()
	_ = p.Restore(ctx)
}

// withCause adds to err, for which a write was given up, what its last attempt failed with.
func (c *Client) withCause(err, last error) error {
	if denied := c.lastDenial(); denied != nil {
		last = denied
	}
	if last == nil {
		return err
	}
	if n, ok := errors.AsType[*noAnswerError](err); ok && Code(last) != 0 {
		return fmt.Errorf("refused by the broker for %v: %w", n.within, last)
	}
	return fmt.Errorf("%w: %w", err, last)
}

// RetryRead repeats a read until it is answered, for as long as alive returns nil. An answer is
// [ErrNotFound] as well, and so is that it is not allowed.
func RetryRead[T any](ctx context.Context, alive func() error, read func(context.Context) (T, error)) (T, error) {
	return retryRead(ctx, alive, read, func(err error) bool { return errors.Is(err, nats.ErrPermissionViolation) })
}

// KeepReading is RetryRead of what has to be known: somebody may allow it meanwhile.
func KeepReading[T any](ctx context.Context, alive func() error, read func(context.Context) (T, error)) (T, error) {
	return retryRead(ctx, alive, read, func(error) bool { return false })
}

func retryRead[T any](ctx context.Context, alive func() error, read func(context.Context) (T, error), final func(error) bool) (T, error) {
	for pause := RetryPause; ; pause = min(2*pause, MaxRetryPause) {
		var none T
		if err := alive(); err != nil {
			return none, err
		}
		v, err := read(ctx)
		if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, nats.ErrConnectionClosed) || final(err) || ctx.Err() != nil {
			return v, err
		}
		if err := Sleep(ctx, pause); err != nil {
			return none, err
		}
	}
}

// Within returns a function that returns nil for d from now on, and then an error. It is for the
// attempts that nothing else bounds.
func Within(d time.Duration) (alive func() error) {
	end := time.Now().Add(d)
	return func() error {
		if time.Now().After(end) {
			return &noAnswerError{within: d}
		}
		return nil
	}
}

// A noAnswerError ends a write that the broker did not take in time.
type noAnswerError struct{ within time.Duration }

func (e *noAnswerError) Error() string {
	return fmt.Sprintf("no answer from the broker within %v", e.within)
}
