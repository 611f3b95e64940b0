package millhand

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/worker"
)

// A Cancellation says what became of a job that was cancelled.
type Cancellation struct {
	Ref

	// Worker runs the job and has told its handler to end. It is empty if the job had not started:
	// then it is gone.
	Worker string `json:"worker,omitempty"`

	// Batch says that the worker runs the job in a call with others, which goes on: the job ends with
	// it, as succeeded or else as cancelled. See [HandleBatch].
	Batch bool `json:"batch,omitempty"`

	// Unanswered are the workers that did not answer within two seconds. If one of them has the job in
	// hand, it finds the order when it returns, and what it wrote about the job before does not count.
	Unanswered []string `json:"unanswered,omitempty"`
}

// A CancelOption changes how jobs are cancelled.
type CancelOption func(*job.Order)

// WithGrace sets how long a running handler has to return once it was told, before it is given up:
// from 0, which gives it up at once, to 1 h. It defaults to 10 s. A command gets SIGTERM, and SIGKILL
// after its grace, or after 5 s if that is sooner.
func WithGrace(d time.Duration) CancelOption { return func(o *job.Order) { o.Grace = d } }

// WithReason sets a text of at most 1,024 bytes that is kept in the [Event] of the job's end, as its
// error.
func WithReason(text string) CancelOption { return func(o *job.Order) { o.Reason = text } }

// Grace returns how long a handler has from the end of its context before it is given up: what
// [WithGrace] said if its job was cancelled, otherwise 10 s. It is for handlers that stop something
// else, and is to be asked once ctx has ended.
func Grace(ctx context.Context) time.Duration { return worker.Grace(context.Cause(ctx)) }

// Cancel ends a job that is alive, whatever it waits for. If it waits, it is gone when Cancel returns.
// If it runs, its handler's context ends with [ErrCancelled], and [Client.Await] tells when it has
// ended: as cancelled, unless the handler returns nil after all. Of a ref without a life it is the
// newest job of the id.
//
// It returns a [*FinishedError] for a job that has ended, [ErrNotFound] for one that is not known,
// and [ErrInvalid] for a bad ref or option. After any other error the job may be cancelled or not: if
// the order was stored by then, a worker carries it out within a minute.
//
// A job that is due within a second is let become ready first, so Cancel takes that long.
func (c *Client) Cancel(ctx context.Context, ref Ref, opts ...CancelOption) (Cancellation, error) {
	ref, _, err := ref.checked()
	if err != nil {
		return Cancellation{}, err
	}
	o, err := newOrder(c.js.Conn().Opts.Name, opts)
	if err != nil {
		return Cancellation{}, publicError(err)
	}
	if ref.Type == job.WorkflowType {
		switch view, err := c.flows.Look(ctx, ref.ID, ref.Life); {
		case err == nil:
			return c.cancelWorkflow(ctx, ref, view)
		case !errors.Is(err, queue.ErrNotFound): // else only its own job is left of it
			return Cancellation{}, workflowError(err)
		}
	}
	o.Queue, o.Type, o.ID, o.Lives = ref.Queue, ref.Type, ref.ID, []string{ref.Life}
	done, err := c.store.Cancel(ctx, o, c.registry)
	ref.Life = o.Life()
	if finished, ok := errors.AsType[*queue.FinishedError](err); ok {
		return Cancellation{}, &FinishedError{Ref: ref, State: State(finished.State)}
	}
	if err != nil {
		return Cancellation{}, publicError(err)
	}
	return Cancellation{Ref: ref, Worker: done.Worker, Batch: done.Batch, Unanswered: done.Unanswered}, nil
}

// CancelMany cancels the jobs that match and were enqueued before the call. None of them starts any
// more once the first result is yielded. Those that run come first. What has ended meanwhile is left
// out, and an error comes last.
//
// Whoever leaves the loop ends the call: jobs that it has not reached run. It can be repeated. If the
// process dies, a worker goes on in its place.
func (c *Client) CancelMany(ctx context.Context, f JobFilter, opts ...CancelOption) iter.Seq2[Cancellation, error] {
	return func(yield func(Cancellation, error) bool) {
		o, err := newOrder(c.js.Conn().Opts.Name, opts)
		var filter queue.JobFilter
		if err == nil {
			filter, err = f.checked()
		}
		if err != nil {
			yield(Cancellation{}, publicError(err))
			return
		}
		for done, err := range c.store.CancelMany(ctx, filter, o, c.registry) {
			if err != nil {
				yield(Cancellation{}, publicError(err))
				return
			}
			ref := Ref{ID: done.ID, Type: done.Type, Queue: done.Queue, Life: done.Life}
			if !yield(Cancellation{Ref: ref, Worker: done.Worker, Batch: done.Batch, Unanswered: done.Unanswered}, nil) {
				return
			}
		}
	}
}

// newOrder returns an order to cancel, of no job so far.
func newOrder(by string, opts []CancelOption) (*job.Order, error) {
	o := &job.Order{Grace: job.DefaultGrace, By: by, At: time.Now().UTC()}
	for i, set := range opts {
		if set == nil {
			return nil, &job.InvalidError{What: fmt.Sprintf("option %d of %d", i+1, len(opts)), Rule: "is nil"}
		}
		set(o)
	}
	switch {
	case o.Grace < 0 || o.Grace > job.MaxGrace:
		return nil, job.Invalid("grace", o.Grace, "must be from 0s to %v", job.MaxGrace)
	case len(o.Reason) > job.MaxOrderReason:
		return nil, job.Invalid("reason", fmt.Sprintf("of %d bytes", len(o.Reason)), "must have at most %d bytes", job.MaxOrderReason)
	}
	return o, nil
}
