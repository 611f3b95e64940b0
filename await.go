package millhand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
)

// Get returns what is known about a job, [ErrNotFound] if nothing is ([ErrNoRecord] of a ref with
// a life), or [ErrInvalid] for a ref that can name no job.
func (c *Client) Get(ctx context.Context, ref Ref) (Info, error) {
	ref, place, err := ref.checked()
	if err != nil {
		return Info{}, err
	}
	info, err := c.read(ctx, ref, place)
	if err != nil {
		return Info{}, ref.unknown(err)
	}
	return info, nil
}

// read is Get for a ref that was checked. It returns [queue.ErrNotFound] if nothing is known.
func (c *Client) read(ctx context.Context, ref Ref, place job.Place) (Info, error) {
	info := Info{Ref: ref}
	m, err := c.store.Find(ctx, place)
	if err != nil && !errors.Is(err, queue.ErrNotFound) {
		return Info{}, err
	}
	if err == nil && (ref.Life == "" || ref.Life == m.Life) {
		info.addWaiting(m)
	}
	history, err := c.store.History(ctx, place, info.Life)
	if err != nil {
		return Info{}, err
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
		return Info{}, queue.ErrNotFound
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
// trace, as those of a type with SilentSuccess may: enqueue what is to be awaited [WithAwait].
//
// What it returns is the job's last event, so of several failures it has the last. [Client.Get] reads
// all that are kept.
//
// A job that expires while no worker takes it is ended by whoever awaits it, so Await does not hang on
// a type that nobody handles if that was enqueued [WithExpires].
//
// If ctx ends first the error is its cause, and the job goes on: Await may be called again, from
// anywhere. A broker that is away is waited for. Ten thousand calls at once are fine, since those
// of one client share their requests.
func (c *Client) Await(ctx context.Context, ref Ref) (Info, error) {
	ref, place, err := ref.checked()
	if err != nil {
		return Info{}, err
	}
	if ref.Type == job.WorkflowType {
		ref, err = stream.RetryRead(ctx, ctx.Err, func(ctx context.Context) (Ref, error) { return c.retried(ctx, ref) })
		if err != nil {
			return ref.awaited(ctx, nil, err)
		}
	}
	e, err := c.store.AwaitFinal(ctx, place, ref.Life)
	return ref.awaited(ctx, e, err)
}

// awaitStored is Await for a job that was enqueued just now.
func (c *Client) awaitStored(ctx context.Context, ref Ref) (Info, error) {
	ref, place, err := ref.checked()
	if err != nil {
		return Info{}, err
	}
	e, err := c.store.AwaitStored(ctx, place, ref.Life)
	return ref.awaited(ctx, e, err)
}

// awaited returns what came of waiting for a job's final event.
func (r Ref) awaited(ctx context.Context, e *queue.Event, err error) (Info, error) {
	switch {
	case err == nil:
		return r.ended(e)
	case ctx.Err() != nil:
		return Info{}, err
	}
	return Info{}, r.unknown(err)
}

// ended returns what a job's final event says of it, and the error that it ended with.
func (r Ref) ended(e *queue.Event) (Info, error) {
	info := Info{Ref: r}
	info.addEvent(e)
	if info.State == Dead {
		return info, &FailedError{Ref: info.Ref, Attempts: info.Attempt, Reason: info.Reason, Message: info.LastError()}
	}
	if info.State == Cancelled {
		return info, ErrCancelled
	}
	return info, nil
}

// unknown makes a public error of why it is not known what became of the job.
func (r Ref) unknown(err error) error {
	if errors.Is(err, queue.ErrNotFound) {
		return r.notFound()
	}
	return publicError(err)
}

// AwaitResult is [Client.Await] for a job whose result is JSON of type R.
func AwaitResult[R any](ctx context.Context, c *Client, ref Ref) (R, error) {
	return awaitedResult[R](c.Await(ctx, ref))
}

// awaitedResult returns the result of a job that was awaited.
func awaitedResult[R any](info Info, err error) (result R, _ error) {
	if err != nil {
		return result, err
	}
	return resultOf[R](&info)
}

// Poll returns the result of a job that has succeeded, as JSON of type R, and false while the job is
// alive. It does not wait, and may be asked again. Of a job that has ended otherwise it returns true
// and the error of [Client.Await]. With any other error, such as [ErrNotFound], it returns false.
func Poll[R any](ctx context.Context, c *Client, ref Ref) (result R, done bool, err error) {
	ref, place, err := ref.checked()
	if err != nil {
		return result, false, err
	}
	e, err := c.store.Final(ctx, place, ref.Life)
	switch {
	case err != nil && ctx.Err() != nil:
		return result, false, context.Cause(ctx)
	case err != nil:
		return result, false, ref.unknown(err)
	case e == nil:
		return result, false, nil
	}
	info, err := ref.ended(e)
	if err == nil {
		result, err = resultOf[R](&info)
	}
	return result, true, err
}

// Call enqueues a job and waits for its result, which is JSON of type R. If ctx ends first, the job
// goes on, and nobody knows its id: give it one [WithID] if that matters.
func Call[R any](ctx context.Context, c *Client, args Args, opts ...EnqueueOption) (R, error) {
	ref, err := c.Enqueue(ctx, args, append(slices.Clone(opts), WithAwait())...)
	if err != nil {
		var none R
		return none, err
	}
	return awaitedResult[R](c.awaitStored(ctx, ref))
}

// resultOf reads the result of a job that has succeeded; nothing is the zero value.
func resultOf[R any](info *Info) (result R, err error) {
	b := []byte(info.Result)
	if len(info.ResultBytes) > 0 {
		b = info.ResultBytes // JSON that nests too deep for an event, or an error that says that it is none
	}
	if len(b) == 0 {
		return result, nil
	}
	if err := json.Unmarshal(b, &result); err != nil {
		return result, fmt.Errorf("millhand: result of job %s: %w", info.ID, err)
	}
	return result, nil
}
