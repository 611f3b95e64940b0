package millhand

import (
	"context"
	"errors"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// Move changes when a job that waits for its time is due, by the broker's clock: a scheduled one, or
// one that waits for its next attempt. It stays the same job in all else. A time that has passed is
// now, and one may be ten years ahead at most.
//
// It returns [ErrNotScheduled] if the job does not wait for its time any more, or is due within a
// second, a [*FinishedError] if it has ended, [ErrNotFound] if no such job is known, and [ErrInvalid]
// for a ref or a time that breaks a rule. After any other error the job may be moved or not, and Move may
// be called again.
func (c *Client) Move(ctx context.Context, ref Ref, at time.Time) error {
	ref, place, err := ref.checked()
	if err != nil {
		return err
	}
	if at.IsZero() {
		return publicError(job.Invalid("time", at, "must not be zero"))
	}
	return ref.explain(c.store.Move(ctx, place, ref.Life, at))
}

// RunNow ends the wait of a job that waits for its time or for its next attempt: it is ready within
// 0.25 s. One that is due already, or runs, is left as it is.
//
// It returns a [*FinishedError] if the job has ended, [ErrNotFound] if no such job is known, and
// [ErrInvalid] for a ref that can name none.
func (c *Client) RunNow(ctx context.Context, ref Ref) error {
	ref, place, err := ref.checked()
	if err != nil {
		return err
	}
	return ref.explain(c.store.RunNow(ctx, place, ref.Life))
}

// explain is publicError of an error about the job that r names.
func (r Ref) explain(err error) error {
	if f, ok := errors.AsType[*queue.FinishedError](err); ok {
		return &FinishedError{Ref: r, State: State(f.State)}
	}
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return r.notFound()
	case errors.Is(err, queue.ErrNotScheduled):
		return ErrNotScheduled
	}
	return publicError(err)
}
