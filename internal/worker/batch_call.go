package worker

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/batch"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/tally"
)

// A batchCall is one call of a handler for many jobs, each of which is an attempt of its own: it is
// among its runner's, and ends by itself or with the call. As an attempt does, the call ends when the
// handler returns or is given up, whichever comes first.
type batchCall struct {
	runner   *runner
	gatherer *gatherer
	config   *Batch
	name     string
	cancel   context.CancelCauseFunc // of the handler's context
	timeout  time.Duration           // the least of its jobs'; 0: none
	finished atomic.Bool             // somebody settles the jobs

	// Of the runner's mutex.
	attempts []*attempt
	cause    error       // why the handler is to stop, nil if it is not
	grace    *time.Timer // until it is given up, nil unless it is to stop

	straggler straggler
}

// call has a handler called for jobs, on a goroutine of its own. ctx is the stage's.
func (r *runner) call(ctx context.Context, g *gatherer, attempts []*attempt) {
	c := &batchCall{runner: r, gatherer: g, config: g.config, name: attempts[0].held.ID, attempts: attempts}
	for _, a := range attempts {
		a.together = c
	}
	if r.jobs.StartFunc(c.name, func() { c.live(ctx) }) != nil { // the tree is being stopped
		for _, a := range attempts {
			a.finish(ending{})
		}
		g.left(len(attempts))
	}
}

// live is the life of the call's goroutine; see [attempt.live].
func (c *batchCall) live(ctx context.Context) {
	handling, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	c.cancel = cancel
	c.runner.worker.orders.Wait(ctx)
	if c.start(ctx); len(c.attempts) == 0 {
		return
	}
	for _, a := range c.attempts {
		c.runner.add(a)
	}
	c.runner.worker.orders.Wait(ctx) // the process may have stood still since, or waited for its turn
	if c.sort(); len(c.attempts) == 0 {
		if !c.finish(nil, false) {
			c.comeBack()
		}
		return
	}
	for _, a := range c.attempts {
		c.runner.counts[a.held.Type].Started(c.runner.worker.counts.waited(a.held))
	}
	returned := false
	defer func() {
		if !returned {
			fail(c.attempts, errNeverReturned)
		}
		if !c.finish(c.endingOf, false) {
			c.comeBack()
		}
	}()
	c.run(handling)
	returned = true
}

// start waits for a slot, and leaves out the jobs that do not start.
func (c *batchCall) start(ctx context.Context) {
	came := len(c.attempts)
	defer func() { c.gatherer.left(came) }()
	c.keep(func(a *attempt) (end ending, starts bool) { return a.mayStart(ctx) })
	if len(c.attempts) == 0 {
		return
	}
	errs := queue.StartTogether(ctx, deliveries(c.attempts))
	next := 0
	c.keep(func(*attempt) (end ending, starts bool) {
		err := errs[next]
		next++
		switch {
		case errors.Is(err, slots.ErrNoSlot), errors.Is(err, slots.ErrNoPermit):
			return ending{}, false
		case err != nil:
			return ending{lost: err}, false
		}
		return ending{}, true
	})
}

// sort leaves out the jobs that were cancelled before the handler is called and those that it cannot be
// called for.
func (c *batchCall) sort() {
	c.keep(func(a *attempt) (ending, bool) {
		if order := c.runner.worker.orders.Find(&a.held.Record, a.held); order != nil {
			a.held.NotStarted()
			return ending{Outcome: queue.CancelledBy(order)}, false
		}
		return ending{}, true
	})
	decodeEach(c.attempts)
	c.keep(func(a *attempt) (ending, bool) {
		err := a.inBatch.err
		if err == nil {
			return ending{}, true
		}
		c.runner.counts[a.held.Type].Started(c.runner.worker.counts.waited(a.held))
		a.held.Returned()
		return ending{Outcome: a.outcome(err, nil)}, false
	})
}

// keep ends the jobs of which f reports false, as it says.
func (c *batchCall) keep(f func(*attempt) (ending, bool)) {
	kept := make([]*attempt, 0, len(c.attempts))
	for _, a := range c.attempts {
		if end, stays := f(a); stays {
			kept = append(kept, a)
		} else if !a.finish(end) { // it was given up meanwhile
			a.held.CameBack()
		}
	}
	c.runner.mu.Lock()
	c.attempts = kept
	c.runner.mu.Unlock()
}

func deliveries(attempts []*attempt) []*queue.Delivery {
	held := make([]*queue.Delivery, len(attempts))
	for i, a := range attempts {
		held[i] = a.held
	}
	return held
}

// run has the handler called.
func (c *batchCall) run(ctx context.Context) {
	for _, a := range c.attempts {
		defer a.held.Returned()
		a.held.OnLost(a.lost)
		defer a.held.OnLost(func(error) {})
	}
	c.end(nil, nil, nil) // what befell jobs before they were all there
	if c.limit(); c.timeout > 0 {
		timed, cancel := context.WithTimeoutCause(ctx, c.timeout, job.ErrTimeout)
		defer cancel()
		defer context.AfterFunc(timed, func() { c.stop(job.ErrTimeout) })()
		ctx = timed
	}
	c.handle(ctx, c.attempts)
	c.runner.mu.Lock()
	defer c.runner.mu.Unlock()
	if c.cause == nil {
		c.cause = context.Cause(ctx) // which the handler may have seen first
	}
}

// limit has the call take no longer than each of its jobs may.
func (c *batchCall) limit() {
	c.runner.mu.Lock()
	defer c.runner.mu.Unlock()
	for _, a := range c.attempts {
		if t := a.settings.Timeout; t > 0 && (c.timeout == 0 || t < c.timeout) {
			c.timeout = t
		}
	}
	for _, a := range c.attempts {
		a.settings.Timeout = c.timeout
	}
}

// handle calls the handler, and again for halves of the jobs if it failed as a whole and that may help.
// Each time it is called for fewer jobs, so n of them take less than 2n calls.
func (c *batchCall) handle(ctx context.Context, attempts []*attempt) {
	if ctx.Err() != nil {
		fail(attempts, context.Cause(ctx))
		return
	}
	jobs := make([]*BatchJob, len(attempts))
	for i, a := range attempts {
		jobs[i] = a.inBatch
		jobs[i].enter()
	}
	err := c.try(ctx, jobs)
	rest := slices.DeleteFunc(slices.Clone(attempts), func(a *attempt) bool {
		return a.inBatch.leave(err == nil) || a.inBatch.Lost() != nil
	})
	switch {
	case err == nil || len(rest) == 0:
	case !c.config.Bisect || len(attempts) == 1 || ctx.Err() != nil || ofAll(err):
		fail(rest, err)
	default:
		half := (len(rest) + 1) / 2
		c.handle(ctx, rest[:half])
		if half < len(rest) {
			c.handle(ctx, rest[half:])
		}
	}
}

// ofAll reports whether an error says that no job is at fault, or when all are to run again.
func ofAll(err error) bool {
	if batch.OfAll(err) {
		return true
	}
	if _, later := errors.AsType[*job.LaterError](err); later {
		return true
	}
	_, back := errors.AsType[*job.HandBackError](err)
	return back
}

// try calls the handler once, with a panic turned into an error.
func (c *batchCall) try(ctx context.Context, jobs []*BatchJob) (err error) {
	defer func() {
		if v := recover(); v != nil {
			c.runner.counts[c.attempts[0].held.Type].Inc(tally.Panics)
			err = &job.PanicError{Value: v, Stack: string(debug.Stack())}
		}
	}()
	return c.config.Handle(ctx, jobs)
}

// fail fails the jobs that have no end.
func fail(attempts []*attempt, err error) {
	for _, a := range attempts {
		a.inBatch.fail(err)
	}
}

// endingOf is how one job ends with the call.
func (c *batchCall) endingOf(a *attempt) ending {
	result, err := a.inBatch.end()
	c.runner.mu.Lock()
	own, cause := a.cause, a.toldOf()
	c.runner.mu.Unlock()
	if errors.Is(own, job.ErrPermitLost) && err == nil {
		err = own // a handler that asks what is lost leaves that out
	}
	if err == nil {
		return endingOf(a.held, queue.Outcome{Kind: job.EventSucceeded, Result: result, Silent: a.settings.SilentSuccess})
	}
	return endingOf(a.held, a.outcome(err, cause))
}

// outcome is [outcome], with a panic of the error's own methods, such as a nil pointer's, turned into a
// failure.
func (a *attempt) outcome(err, cause error) (o queue.Outcome) {
	defer func() {
		if v := recover(); v != nil {
			o = outcome(a.held.Attempt, a.settings, &job.PanicError{Value: v, Stack: string(debug.Stack())}, cause)
		}
	}()
	return outcome(a.held.Attempt, a.settings, err, cause)
}

// finish settles all jobs that have not been left out, once, and reports whether it was this call of it
// that did.
func (c *batchCall) finish(endingOf func(*attempt) ending, abandoned bool) bool {
	if !c.finished.CompareAndSwap(false, true) {
		return false
	}
	c.runner.mu.Lock()
	if c.grace != nil {
		c.grace.Stop()
	}
	attempts := slices.DeleteFunc(slices.Clone(c.attempts), func(a *attempt) bool { return !a.finished.CompareAndSwap(false, true) })
	c.runner.mu.Unlock()
	if len(attempts) == 0 {
		return true
	}
	ends := make([]ending, len(attempts))
	for i, a := range attempts {
		ends[i] = c.runner.ending(a, endingOf(a))
		if abandoned {
			a.held.GiveUp()
		}
	}
	c.runner.settleTogether(attempts, ends)
	for _, a := range attempts {
		c.runner.remove(a)
		a.slot.Ended(nil)
	}
	return true
}

// settleTogether passes on how jobs ended that ran in one call, and gives its slot back. Each is handed
// over before the next one waits for room, so that none has room which it does not use.
func (r *runner) settleTogether(attempts []*attempt, ends []ending) {
	var ran time.Duration
	for i, a := range attempts {
		h := a.held
		took := h.Ran()
		ran = max(ran, took)
		if took > 0 {
			r.counts[h.Type].Ran(took / time.Duration(len(attempts))) // all shares together are a slot's time
		}
		if ends[i].lost != nil {
			r.dropLost(h)
			continue
		}
		r.worker.outcomes.add(ends[i].Kind)
		r.worker.settler.Settle(h, ends[i].Outcome)
	}
	queue.FinishTogether(deliveries(attempts), ran)
}
