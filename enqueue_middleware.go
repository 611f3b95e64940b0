package millhand

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// A Draft is a job that is about to be enqueued, as an [EnqueueMiddleware] sees it. What is changed
// in it is stored so, under the same rules as options.
type Draft struct {
	ID          string // one that is set here is the caller's choice, as with [WithID]
	Type        string
	Queue       string
	Payload     []byte            // a copy
	Meta        map[string]string // never nil, nor is Trace
	Trace       map[string]string // see [WithTrace]
	MaxAttempts int               // 0: the type's own setting
	Timeout     time.Duration     // 0: the type's own setting

	options  *enqueueOptions
	together []*Draft // all that are stored with it, of an EnqueueAtomic
	passed   bool     // to the innermost function
	err      error    // with which it came back from there last
}

// An EnqueueFunc stores jobs and returns once the broker has them. Unless all are stored its
// error is a [*BatchError], with an error or nil for each of them, even if there is only one.
type EnqueueFunc func(ctx context.Context, jobs []*Draft) error

// An EnqueueMiddleware wraps what stores jobs. The function that it returns is called in place of
// next, and calls next to go on. [Client.Enqueue] comes with one job, [Client.EnqueueMany] with
// all that break no rule, if there are any, and [Client.EnqueueAtomic] with all of its jobs. Those
// have to be passed on all at once, since they are stored together: else none is.
//
// The caller gets what the outermost middleware returns. A [*BatchError] has an error or nil for
// each job or, of a middleware that passed on fewer, for each of those. Any other error stands for
// all jobs. A job that was not passed on and has no error is [ErrNotSent].
type EnqueueMiddleware func(next EnqueueFunc) EnqueueFunc

// Use puts middleware around all that the client enqueues. The first one is the outermost: it is
// called first and returns last. Further calls add inner ones. Call it before the first
// Enqueue. It panics if a middleware is nil or returns nil.
func (c *Client) Use(middleware ...EnqueueMiddleware) {
	c.middleware = append(c.middleware, middleware...)
	chain := c.storeDrafts
	for i, wrap := range slices.Backward(c.middleware) {
		if wrap != nil {
			chain = wrap(chain)
		}
		if wrap == nil || chain == nil {
			panic(fmt.Sprintf("millhand: enqueue middleware %d of %d is nil", i+1, len(c.middleware)))
		}
	}
	c.chain = chain
}

// throughMiddleware returns the error of each job, nil for those that are stored.
func (c *Client) throughMiddleware(ctx context.Context, jobs []*enqueueOptions) []error {
	if len(jobs) == 0 {
		return nil
	}
	drafts := make([]*Draft, len(jobs))
	for i, o := range jobs {
		drafts[i] = newDraft(o)
	}
	return c.runChain(ctx, drafts)
}

func (c *Client) runChain(ctx context.Context, drafts []*Draft) []error {
	errs := make([]error, len(drafts))
	err := c.chain(ctx, drafts)
	batch, each := errors.AsType[*BatchError](err)
	for i, d := range drafts {
		switch {
		case !each:
			errs[i] = err
		case len(batch.Errs) == len(drafts):
			errs[i] = batch.Errs[i]
		default: // of those that were passed on
			errs[i] = d.err
		}
	}
	for i, d := range drafts {
		if errs[i] == nil && !d.passed {
			errs[i] = &notSentError{cause: errors.New("a middleware kept the job")}
		}
	}
	return errs
}

func newDraft(o *enqueueOptions) *Draft {
	d := &Draft{
		ID: o.ID, Type: o.Type, Queue: o.Queue, Payload: bytes.Clone(o.Payload), Meta: o.Meta, Trace: o.Trace,
		MaxAttempts: o.MaxAttempts, Timeout: o.Timeout, options: o,
	}
	if d.Meta == nil {
		d.Meta = make(map[string]string)
	}
	if d.Trace == nil {
		d.Trace = make(map[string]string)
	}
	return d
}

// apply takes over what was changed.
func (d *Draft) apply() error {
	if d == nil || d.options == nil {
		return &job.InvalidError{What: "a draft", Rule: "must be one that the middleware was called with"}
	}
	d.passed = true
	o := d.options
	o.chosenID = o.chosenID || d.ID != o.ID
	o.ID, o.Type, o.Queue, o.Payload, o.Meta, o.Trace = d.ID, d.Type, d.Queue, d.Payload, d.Meta, d.Trace
	o.MaxAttempts, o.Timeout = d.MaxAttempts, d.Timeout
	return o.Check()
}

// storeDrafts is what the innermost middleware calls.
func (c *Client) storeDrafts(ctx context.Context, drafts []*Draft) error {
	if len(drafts) > 0 && drafts[0] != nil && drafts[0].together != nil {
		return c.storeTogether(ctx, drafts)
	}
	errs := make([]error, len(drafts))
	var jobs []*enqueueOptions
	var at []int // index in drafts
	for i, d := range drafts {
		if err := d.apply(); err != nil {
			errs[i] = publicError(err)
			continue
		}
		jobs, at = append(jobs, d.options), append(at, i)
	}
	for n, err := range c.storeAll(ctx, jobs) {
		errs[at[n]] = err
	}
	for i, d := range drafts {
		if d != nil {
			d.err = errs[i]
		}
	}
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return &BatchError{Errs: errs}
	}
	return nil
}
