package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/tally"
)

// ending is how an attempt ended: with an outcome, or with its lease lost, which leaves
// nothing to settle. The zero value hands the job back.
type ending struct {
	queue.Outcome
	lost      error
	abandoned bool // the handler still runs
}

// An attempt is one run of a job's handler, on a goroutine that its runner started. It ends in
// one of three ways, and whichever comes first settles the job, by [attempt.finish]:
//
//	live ──► no slot, permit or lease                        ──► finish
//	     └─► handler returns, panics or exits its goroutine  ──► finish
//	     └─► end: its context ends ──► it ignores that: giveUp ──► finish
type attempt struct {
	runner   *runner
	held     *queue.Delivery
	slot     stages.Slot[*queue.Delivery]
	handler  Handler // of the job's type: [Config.Types]
	passed   *Passed // of a job that is passed on; nil: it has a handler
	settings Settings
	cancel   context.CancelCauseFunc // of the handler's context
	finished atomic.Bool             // somebody settles the job

	// Of a job that is handled with others.
	batch    *Batch     // of the job's type; nil: it runs alone
	inBatch  *BatchJob  // what the handler sees of it
	together *batchCall // that it runs in; nil until there is one

	// Of the runner's mutex.
	cause error       // why the handler is to stop, nil if it is not
	order *job.Order  // to cancel the job, if that is why
	ended bool        // it has
	final bool        // so has its job, which does not go on as another message
	grace *time.Timer // until it is given up, nil unless it is to stop

	straggler straggler
}

// live is the life of a job's goroutine. Its ctx is the stage's, whose end reaches the handler as
// [job.ErrHandedBack]: so the handler's context is one without it.
func (a *attempt) live(ctx context.Context) {
	handling, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	a.cancel = cancel
	a.runner.worker.orders.Wait(ctx)
	if end, ok := a.start(ctx); !ok {
		a.finish(end)
		return
	}
	a.runner.add(a)
	a.runner.worker.orders.Wait(ctx) // the process may have stood still since, or waited for its turn
	// What is ordered from now on finds the attempt, and what was ordered before is found here.
	if order := a.runner.worker.orders.Find(&a.held.Record, a.held); order != nil {
		a.held.NotStarted()
		if !a.finish(ending{Outcome: queue.CancelledBy(order)}) {
			a.comeBack()
		}
		return
	}
	a.runner.counts[a.held.Type].Started(a.runner.worker.counts.waited(a.held))
	var end ending
	returned := false
	defer func() {
		if !returned {
			end = a.unreturned()
		}
		if !a.finish(end) {
			a.comeBack()
		}
	}()
	end = a.run(handling)
	returned = true
}

// finish settles the job, once, and reports whether it was this call that did.
func (a *attempt) finish(end ending) bool {
	if !a.finished.CompareAndSwap(false, true) {
		return false
	}
	defer a.slot.Ended(nil)
	if a.passed != nil {
		a.passed.Gone()
	}
	end = a.runner.ending(a, end)
	defer a.runner.remove(a)
	if end.abandoned {
		a.held.GiveUp()
	}
	a.runner.settle(a.held, end)
	return true
}

// start waits for a slot and notes that the handler starts now. Else it reports false, and how
// the attempt ended.
func (a *attempt) start(ctx context.Context) (end ending, ok bool) {
	if end, ok := a.mayStart(ctx); !ok {
		return end, false
	}
	switch err := a.held.Start(ctx); {
	case errors.Is(err, slots.ErrNoSlot), errors.Is(err, slots.ErrNoPermit):
		return ending{}, false
	case err != nil:
		return ending{lost: err}, false
	}
	return ending{}, true
}

// mayStart reports false, and how the attempt ends, if the job must not run.
func (a *attempt) mayStart(ctx context.Context) (end ending, ok bool) {
	switch ended, err := a.runner.worker.store.EndedBefore(ctx, a.held); {
	case errors.Is(err, queue.ErrLeaseLost):
		return ending{lost: err}, false
	case err != nil: // the worker stops
		return ending{}, false
	case ended:
		a.runner.worker.log.WarnContext(ctx, "a dead job was requeued twice: it has ended by now, and does not run again", a.held.LogAttrs()...)
		return ending{Outcome: queue.Outcome{Ended: true}}, false
	}
	if a.held.Workflow != "" {
		return a.startStep(ctx)
	}
	return ending{}, true
}

// run runs the handler once.
func (a *attempt) run(ctx context.Context) ending {
	defer a.held.Returned()
	a.held.OnLost(a.lost)
	defer a.held.OnLost(func(error) {})
	if a.settings.Timeout > 0 && a.passed == nil {
		timed, cancel := context.WithTimeoutCause(ctx, a.settings.Timeout, job.ErrTimeout)
		defer cancel()
		defer context.AfterFunc(timed, func() { a.end(job.ErrTimeout) })()
		ctx = timed
	}
	return endingOf(a.held, a.call(ctx))
}

func (a *attempt) lost(cause error) { a.end(causeOf(cause)) }

// causeOf tells a handler why it is to stop.
func causeOf(cause error) error {
	if errors.Is(cause, slots.ErrPermitLost) {
		return job.ErrPermitLost
	}
	return job.ErrLeaseLost
}

// end cancels the handler's context. If the handler ignores that for too long, it is given up.
func (a *attempt) end(cause error) {
	switch {
	case a.together == nil:
		a.endWith(cause, nil)
	case errors.Is(cause, job.ErrHandedBack):
		a.together.stop(cause)
	default:
		a.together.end(a, cause, nil)
	}
}

// toldOf is why the handler is to stop, nil if it is not. It needs the runner's mutex.
func (a *attempt) toldOf() error {
	if a.cause == nil && a.together != nil {
		return a.together.cause
	}
	return a.cause
}

// endBy ends an attempt whose job is cancelled by an order.
func (a *attempt) endBy(order *job.Order) {
	if a.together != nil {
		a.together.end(a, nil, order)
		return
	}
	a.endWith(&job.CancelledError{Grace: order.Grace}, order)
}

func (a *attempt) endWith(cause error, order *job.Order) {
	r := a.runner
	r.mu.Lock()
	_, running := r.running[a]
	first := running && a.cause == nil && !a.ended
	if first {
		a.cause, a.order = cause, order // before the timer starts, since giveUp reads it without the mutex
		a.grace = time.AfterFunc(a.patience(), a.giveUp)
	}
	r.mu.Unlock()
	if first {
		a.cancel(cause)
	}
}

// patience is how long the handler may take to return once its context has ended.
func (a *attempt) patience() time.Duration {
	return Grace(a.cause)
}

// Grace is how long a handler whose context ended with cause has before it is given up.
func Grace(cause error) time.Duration {
	if cancelled, ok := errors.AsType[*job.CancelledError](cause); ok {
		return cancelled.Grace
	}
	return handlerGrace
}

// giveUp ends the attempt of a handler that ignores the end of its context. Its goroutine cannot
// be stopped; its slot can be given back, but not for ever more of them.
func (a *attempt) giveUp() {
	r, h := a.runner, a.held
	err := fmt.Errorf("%w, and the handler ignores it", a.cause)
	end := endingOf(h, outcome(h.Attempt, a.settings, err, a.cause))
	end.Stack, end.abandoned = r.jobs.Stacks(h.ID), true
	if !a.finish(end) {
		return // it has returned after all
	}
	count := func() { a.straggler.count(r.worker) }
	if early := handlerGrace - a.patience(); early > 0 {
		time.AfterFunc(early, count) // it was not given the time of others
		return
	}
	r.worker.log.Error("handler ignores the end of its context: given up, its slot is free",
		append(h.LogAttrs(), slog.Any("err", err), slog.String("stack", end.Stack))...)
	count()
}

// comeBack notes that the handler has returned after it was given up.
func (a *attempt) comeBack() {
	a.held.CameBack()
	a.straggler.comeBack(a.runner.worker)
}

func endingOf(h *queue.Delivery, o queue.Outcome) ending {
	if lost := h.Alive(); lost != nil {
		return ending{lost: lost}
	}
	return ending{Outcome: o}
}

// errNeverReturned is the end of a handler that calls [runtime.Goexit], as a test's
// FailNow does.
var errNeverReturned = errors.New("the handler ended its goroutine without returning")

// unreturned is how an attempt ended whose handler never comes back to say so.
func (a *attempt) unreturned() ending {
	return ending{Outcome: outcome(a.held.Attempt, a.settings, errNeverReturned, nil)}
}

// forJob returns the settings that hold for one job: its own come first.
func (t Settings) forJob(h *queue.Delivery) Settings {
	if h.Timeout > 0 {
		t.Timeout = h.Timeout
	}
	switch {
	case h.MaxAttempts > 0:
		t.MaxAttempts = h.MaxAttempts
	case t.MaxAttempts == 0:
		t.MaxAttempts = job.DefaultMaxAttempts
	}
	return t
}

// call is the handler with panics turned into failures; those of its error's own methods,
// too, such as a nil pointer's.
func (a *attempt) call(ctx context.Context) (o queue.Outcome) {
	h := a.held
	defer func() {
		if v := recover(); v != nil {
			a.runner.counts[h.Type].Inc(tally.Panics)
			err := &job.PanicError{Value: v, Stack: string(debug.Stack())}
			o = outcome(h.Attempt, a.settings, err, context.Cause(ctx))
		}
	}()
	result, err := a.handler(ctx, h, a.settings.MaxAttempts)
	if err == nil {
		return queue.Outcome{Kind: job.EventSucceeded, Result: result, Silent: a.settings.SilentSuccess}
	}
	return outcome(h.Attempt, a.settings, err, context.Cause(ctx))
}
