package worker

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// end notes that one of the jobs is to end, and has the handler's context end once all are.
func (c *batchCall) end(a *attempt, cause error, order *job.Order) {
	r := c.runner
	r.mu.Lock()
	if _, running := r.running[a]; running && !a.ended {
		if order != nil {
			a.order = order
		} else if a.cause == nil {
			a.cause = cause
			a.inBatch.lose(cause)
		}
	}
	all := len(c.attempts) > 0
	for _, a := range c.attempts {
		switch {
		case a.order != nil:
			cause = &job.CancelledError{Grace: a.order.Grace}
		case a.cause != nil:
			cause = a.cause
		default:
			all = false
		}
	}
	r.mu.Unlock()
	if all {
		c.stop(cause)
	}
}

// stop cancels the handler's context. If the handler ignores that for too long, it is given up.
func (c *batchCall) stop(cause error) {
	r := c.runner
	r.mu.Lock()
	first := c.cause == nil && !c.finished.Load()
	if first {
		c.cause = cause
		c.grace = time.AfterFunc(Grace(cause), c.giveUp)
	}
	r.mu.Unlock()
	if first {
		c.cancel(cause)
	}
}

// giveUp ends the call of a handler that ignores the end of its context; see [attempt.giveUp].
func (c *batchCall) giveUp() {
	r := c.runner
	r.mu.Lock()
	attempts := c.attempts
	r.mu.Unlock()
	if len(attempts) == 0 {
		return // none of them was to run
	}
	err := fmt.Errorf("%w, and the handler ignores it", c.cause)
	stacks := r.jobs.Stacks(c.name)
	finished := c.finish(func(a *attempt) ending {
		a.inBatch.fail(err)
		end := c.endingOf(a)
		end.Stack, end.abandoned = stacks, true
		return end
	}, true)
	if !finished {
		return // it has returned after all
	}
	count := func() { c.straggler.count(r.worker) }
	if early := handlerGrace - Grace(c.cause); early > 0 {
		time.AfterFunc(early, count) // it was not given the time of others
		return
	}
	r.worker.log.Error("handler of a batch ignores the end of its context: given up, its slot is free",
		slog.String("queue", attempts[0].held.Queue), slog.String("type", attempts[0].held.Type), slog.Int("jobs", len(attempts)),
		slog.Any("err", err), slog.String("stack", stacks))
	count()
}

// comeBack notes that the handler has returned after it was given up.
func (c *batchCall) comeBack() {
	for _, a := range c.attempts {
		a.held.CameBack()
	}
	c.straggler.comeBack(c.runner.worker)
}
