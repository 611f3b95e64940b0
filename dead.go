package millhand

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// A DeadJob is a dead job as the broker keeps it, whole. Its life is the one that died.
type DeadJob struct {
	Ref
	Seq             uint64            `json:"seq"` // of its record, by which it is found again
	Payload         []byte            `json:"payload,omitempty"`
	PayloadOmitted  int               `json:"payload_omitted,omitempty"` // bytes of a payload that was too large to be kept
	Meta            map[string]string `json:"meta,omitempty"`
	Trace           map[string]string `json:"trace,omitempty"`
	Reason          Reason            `json:"reason"`
	DiedAt          time.Time         `json:"died_at"` // by the broker's clock, as is EnqueuedAt
	EnqueuedAt      time.Time         `json:"enqueued_at,omitzero"`
	Attempt         int               `json:"attempt"` // the run that ended last, from 1, or that did not begin
	MaxAttempts     int               `json:"max_attempts,omitempty"`
	Crashes         int               `json:"crashes,omitempty"`
	Timeout         time.Duration     `json:"timeout,omitempty"`
	Expires         time.Duration     `json:"expires,omitempty"`
	Failures        []Failure         `json:"failures,omitempty"`         // oldest first
	FailuresOmitted int               `json:"failures_omitted,omitempty"` // older ones, for which there was no room
	Subject         string            `json:"subject,omitempty"`          // on which it came, if that was no job's subject
}

// LastError is the text of the failure that it died of, or empty.
func (d *DeadJob) LastError() string {
	if len(d.Failures) == 0 {
		return ""
	}
	return d.Failures[len(d.Failures)-1].Error
}

// A DeadFilter says which dead jobs are meant. The zero value is all of the namespace.
type DeadFilter struct {
	Queue  string    // empty: all
	Type   string    // empty: all
	ID     string    // empty: all
	Reason Reason    // of a dead job, such as [ReasonExhausted]; empty: any
	Error  string    // what the last failure's text contains
	Since  time.Time // of the death; zero: any
	Until  time.Time // of the death, itself not included; zero: any
}

func (f DeadFilter) internal() queue.DeadFilter {
	return queue.DeadFilter{Queue: f.Queue, Type: f.Type, ID: f.ID, Reason: string(f.Reason), Error: f.Error, Since: f.Since, Until: f.Until}
}

// Dead yields the dead jobs that match, oldest first. It ends at what was dead when it was called. What
// is requeued or removed meanwhile may still be among them. An error is the last thing it yields;
// it is [ErrInvalid] for a filter that can match nothing.
func (c *Client) Dead(ctx context.Context, f DeadFilter) iter.Seq2[DeadJob, error] {
	return func(yield func(DeadJob, error) bool) {
		for d, err := range c.store.Dead(ctx, f.internal()) {
			if err != nil {
				yield(DeadJob{}, publicError(err))
				return
			}
			if !yield(deadJobOf(d), nil) {
				return
			}
		}
	}
}

// CountDead returns how many dead jobs match. It costs one request if the filter has no more than
// names; otherwise all that have these names are read.
func (c *Client) CountDead(ctx context.Context, f DeadFilter) (int, error) {
	n, err := c.store.CountDead(ctx, f.internal())
	return n, publicError(err)
}

// Requeue has a dead job run again, under its id and with all that the broker keeps of it: only its
// queue, type, id, life and Seq are taken from d. It begins at its first attempt, in a life that is
// derived from the one that died, and expires anew. Of the options there are [WithDelay],
// [WithRunAt], [WithMaxAttempts], [WithTimeout] and [Alone].
//
// To requeue a job twice, at the same time or after a crash in between, is to do it once: the second
// call returns the same ref.
//
// It returns [ErrNotFound] if the job is not among the dead any more and was not requeued either, a
// [*DuplicateError] if another job has its id, and [ErrInvalid] if it cannot run: its payload was too
// large to be kept, it was published on a subject that is no job's, or it is a step of a workflow, which has counted its
// end: retry that, or see [Alone]. Of a workflow it is [Client.RetryWorkflow], without options; to requeue one that was
// retried since is to do nothing.
func (c *Client) Requeue(ctx context.Context, d DeadJob, opts ...EnqueueOption) (Ref, error) {
	how, err := revivalOf(opts)
	if err != nil {
		return Ref{}, publicError(err)
	}
	ref, place, err := d.checked()
	if err != nil {
		return Ref{}, err
	}
	ref.Life, err = c.store.Requeue(ctx, place, d.Life, d.Seq, how)
	if errors.Is(err, queue.ErrNotFound) && isWorkflow(ref) { // its record leaves with its retry
		newest, failed := c.retried(ctx, d.Ref)
		if failed == nil && newest.Life != d.Life {
			return newest, nil
		}
	}
	if err != nil {
		return Ref{}, workflowError(err)
	}
	return ref, nil
}

// Alone has [Client.Requeue] run the dead job of a step of a workflow, or of one of its groups, outside of it: whatever
// becomes of it, the workflow stays as it has ended or goes on. In the handler [StepResult], [GroupResults] and [Grow]
// return an [*InvalidError], as for any job of no workflow. If the workflow is retried while the job is alive, that cancels
// it, and runs the step. For a job of no workflow it changes nothing, and a workflow
// is refused. It is for Requeue only.
func Alone() EnqueueOption { return func(o *enqueueOptions) { o.alone = true } }

// revivalOf returns what options say of a job that is requeued, or an error for the first that says
// anything else.
func revivalOf(opts []EnqueueOption) (how queue.Revival, err error) {
	var o enqueueOptions
	for i, set := range opts {
		what := fmt.Sprintf("option %d of %d", i+1, len(opts))
		if set == nil {
			return how, &job.InvalidError{What: what, Rule: "is nil"}
		}
		set(&o)
		if o.err != nil {
			return how, o.err
		}
		if !o.isOfRequeue() {
			return how, &job.InvalidError{What: what, Rule: "is not for Requeue, which takes WithDelay, WithRunAt, WithMaxAttempts, WithTimeout and Alone"}
		}
	}
	if o.delayed && !o.runAt.IsZero() {
		return how, job.Invalid("delay", o.delay, "WithDelay and WithRunAt: use one")
	}
	how = queue.Revival{MaxAttempts: o.MaxAttempts, Timeout: o.Timeout, Delay: o.delay, RunAt: o.runAt, Alone: o.alone}
	// Of a job that is otherwise fine.
	o.Queue, o.Type, o.ID = job.DefaultQueue, job.DefaultQueue, job.DefaultQueue
	return how, o.Check()
}

// isOfRequeue reports whether nothing else is said than what a requeue takes.
func (o *enqueueOptions) isOfRequeue() bool {
	rest := *o
	rest.delay, rest.delayed, rest.runAt, rest.alone = 0, false, time.Time{}, false
	rest.MaxAttempts, rest.Timeout = 0, 0
	return reflect.ValueOf(rest).IsZero()
}

// A RequeueConfig says how [Client.RequeueDead] has many jobs run again. The zero value is all at once.
type RequeueConfig struct {
	// Spread is the time over which the jobs become due, evenly, so that they do not come all at once.
	Spread time.Duration

	// Limit is how many jobs are requeued at most. Defaults to all that match.
	Limit int

	// Alone is as of the option [Alone]: steps of workflows run outside of them, and workflows are refused. Without it steps
	// are refused, and a workflow is retried, at once: that removes the records of its steps.
	Alone bool
}

// RequeueDead requeues the dead jobs that match, oldest first, as [Client.Requeue] does. What dies again
// meanwhile is not taken again, so it ends. It yields the ref of each, or of one that cannot be
// requeued its old ref with the error, and goes on with the next. An error without a ref is the last.
//
// It can be broken off and repeated: nothing runs twice. Of a loop that is left, a few hundred more
// may have been requeued than it has seen.
func (c *Client) RequeueDead(ctx context.Context, f DeadFilter, cfg RequeueConfig) iter.Seq2[Ref, error] {
	return func(yield func(Ref, error) bool) {
		if err := cfg.check(); err != nil {
			yield(Ref{}, publicError(err))
			return
		}
		for r, err := range c.store.RequeueDead(ctx, f.internal(), queue.Revivals(cfg)) {
			if err != nil {
				yield(Ref{}, publicError(err))
				return
			}
			if !yield(Ref{ID: r.ID, Type: r.Type, Queue: r.Queue, Life: r.Life}, workflowError(r.Err)) {
				return
			}
		}
	}
}

func (c RequeueConfig) check() error {
	switch {
	case c.Spread < 0:
		return job.Invalid("spread", c.Spread, "must not be negative")
	case c.Limit < 0:
		return job.Invalid("limit", c.Limit, "must not be negative")
	}
	return nil
}

// PurgeDead removes the dead jobs that match and that there are now, for good, and returns how many.
// What is known of how they ended stays, for as long as events are kept.
func (c *Client) PurgeDead(ctx context.Context, f DeadFilter) (int, error) {
	n, err := c.store.PurgeDead(ctx, f.internal())
	return n, publicError(err)
}

func deadJobOf(d *queue.DeadJob) DeadJob {
	dead := DeadJob{
		Ref: refOf(&d.Record), Seq: d.Seq, Payload: d.Payload, PayloadOmitted: d.PayloadOmitted, Meta: d.Meta, Trace: d.Trace,
		Reason: Reason(d.Reason), DiedAt: d.DiedAt, EnqueuedAt: d.EnqueuedAt,
		Attempt: d.Attempt, MaxAttempts: d.MaxAttempts, Crashes: d.Crashes, Timeout: d.Timeout, Expires: d.Expires,
		FailuresOmitted: d.FailuresOmitted, Subject: d.Origin,
	}
	for _, f := range d.Failures {
		dead.Failures = append(dead.Failures, failureOf(f))
	}
	return dead
}
