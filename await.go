package millhand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// Get returns what is known about a job, [ErrNotFound] if nothing is ([ErrNoRecord] of a ref with
// a life), or [ErrInvalid] for a ref that can name no job.
func (c *Client) Get(ctx context.Context, ref Ref) (Info, error) {
	ref, place, err := ref.checked()
	if err != nil {
		return Info{}, err
	}
	info := Info{Ref: ref}
	m, err := c.store.Find(ctx, place)
	if err != nil && !errors.Is(err, queue.ErrNotFound) {
		return Info{}, publicError(err)
	}
	if err == nil && (ref.Life == "" || ref.Life == m.Life) {
		info.addWaiting(m)
	}
	history, err := c.store.History(ctx, place, info.Life)
	if err != nil {
		return Info{}, publicError(err)
	}
	if info.State == "" && info.Life == "" && len(history) > 0 {
		info.Life = history[len(history)-1].Life
	}
	for _, e := range history {
		if e.Life == info.Life && e.Life != "" { // a job that waits for its time may have none yet
			info.addEvent(&e)
		}
	}
	if info.State == "" {
		return Info{}, ref.notFound()
	}
	return info, nil
}

// checked returns r with its defaults and the place that it names, or an [ErrInvalid].
func (r Ref) checked() (Ref, job.Place, error) {
	if r.Queue == "" {
		r.Queue = job.DefaultQueue
	}
	p, err := job.PlaceOf(r.Queue, r.Type, r.ID)
	return r, p, publicError(err)
}

// notFound says that nothing is known of the job.
func (r Ref) notFound() error {
	if r.Life != "" { // which only a job that was enqueued has
		return ErrNoRecord
	}
	return ErrNotFound
}

// Await waits until a job has ended and returns how. The error is nil if it succeeded, a
// [*FailedError] if it is dead, [ErrCancelled], [ErrNotFound] if no such job is known, and
// [ErrInvalid] for a ref that can name none. It is [ErrNoRecord] for a job that ended without a
// trace: do not await jobs of a type with SilentSuccess, or give them a result. If ctx ends first
// the error is its cause, and the job goes on: Await may be called again, from anywhere.
func (c *Client) Await(ctx context.Context, ref Ref) (Info, error) {
	ref, place, err := ref.checked()
	if err != nil {
		return Info{}, err
	}
	e, err := c.store.AwaitFinal(ctx, place, ref.Life)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return Info{}, err
	case errors.Is(err, queue.ErrNotFound):
		return Info{}, ref.notFound()
	default:
		return Info{}, publicError(err)
	}
	info := Info{Ref: ref}
	info.addEvent(e)
	if info.State == Dead {
		return info, &FailedError{Ref: info.Ref, Attempts: info.Attempt, Reason: info.Reason, Message: info.LastError()}
	}
	if info.State == Cancelled {
		return info, ErrCancelled
	}
	return info, nil
}

// AwaitResult is [Client.Await] for a job whose result is JSON of type R.
func AwaitResult[R any](ctx context.Context, c *Client, ref Ref) (R, error) {
	var result R
	info, err := c.Await(ctx, ref)
	b := []byte(info.Result)
	if len(info.ResultBytes) > 0 {
		b = info.ResultBytes // JSON that nests too deep for an event, or an error that says that it is none
	}
	if err != nil || len(b) == 0 {
		return result, err
	}
	if err := json.Unmarshal(b, &result); err != nil {
		return result, fmt.Errorf("millhand: result of job %s: %w", ref.ID, err)
	}
	return result, nil
}
