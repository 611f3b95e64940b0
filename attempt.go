package millhand

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// ending is how an attempt ended: with an outcome, or with its lease lost, which leaves
// nothing to settle.
type ending struct {
	queue.Outcome
	lost error
}

// attempt runs a job's handler once. The end of stop has the job handed back. If the
// handler ignores the end of its context for too long, giveUp is called, from another
// goroutine, with the ending it then has.
func (w *Worker) attempt(stop context.Context, h *queue.Held, giveUp func(ending)) ending {
	switch err := h.Start(); {
	case errors.Is(err, queue.ErrNoPermit):
		return ending{} // handed back
	case err != nil:
		return ending{lost: err}
	}
	defer h.Returned()
	settings := w.cfg.Types[h.Type].forJob(h)
	// Detached, so that the handler sees why it is to stop in this package's terms.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(stop))
	defer cancel(nil)
	defer context.AfterFunc(stop, func() { cancel(ErrHandedBack) })()
	h.OnLost(func(cause error) { cancel(publicCause(cause)) })
	defer h.OnLost(func(error) {})
	if settings.Timeout > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeoutCause(ctx, settings.Timeout, ErrTimeout)
		defer end()
	}
	returned := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		grace := time.NewTimer(handlerGrace)
		defer grace.Stop()
		select {
		case <-returned:
		case <-grace.C:
			err := fmt.Errorf("%w, and the handler ignores it", context.Cause(ctx))
			giveUp(endingOf(h, outcome(h.Attempt, settings, nil, err, context.Cause(ctx))))
		}
	})()
	defer close(returned)
	return endingOf(h, w.call(ctx, h, settings))
}

func endingOf(h *queue.Held, o queue.Outcome) ending {
	if lost := h.Alive(); lost != nil {
		return ending{lost: lost}
	}
	return ending{Outcome: o}
}

// errNeverReturned is the end of a handler that calls [runtime.Goexit], as a test's
// FailNow does.
var errNeverReturned = errors.New("the handler ended its goroutine without returning")

// unreturned is how an attempt ended whose handler never comes back to say so.
func (w *Worker) unreturned(h *queue.Held) ending {
	return ending{Outcome: outcome(h.Attempt, w.cfg.Types[h.Type].forJob(h), nil, errNeverReturned, nil)}
}

// forJob returns the settings that hold for one job: its own come first.
func (t TypeConfig) forJob(h *queue.Held) TypeConfig {
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
func (w *Worker) call(ctx context.Context, h *queue.Held, settings TypeConfig) (o queue.Outcome) {
	defer func() {
		if v := recover(); v != nil {
			err := &panicError{value: v, stack: string(debug.Stack())}
			o = outcome(h.Attempt, settings, nil, err, context.Cause(ctx))
		}
	}()
	result, err := w.cfg.Mux.handlers[h.Type](ctx, &Job[Raw]{
		Ref: refOf(&h.Record), Attempt: h.Attempt, MaxAttempts: settings.MaxAttempts, Crashes: h.Crashes,
		EnqueuedAt: h.EnqueuedAt.UTC(), Meta: h.Meta, Args: Raw{Name: h.Type, Payload: h.Payload},
		leaseUntil: h.LeaseUntil,
	})
	return outcome(h.Attempt, settings, result, err, context.Cause(ctx))
}

type panicError struct {
	value any
	stack string
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// outcome decides what follows an attempt that ended with err, its context with cause.
func outcome(attempt int, settings TypeConfig, result []byte, err, cause error) queue.Outcome {
	if err == nil {
		return queue.Outcome{Kind: job.EventSucceeded, Result: result}
	}
	var (
		panicked, _  = errors.AsType[*panicError](err)
		permanent, _ = errors.AsType[*permanentError](err)
		malformed, _ = errors.AsType[*malformedError](err)
		later, _     = errors.AsType[*laterError](err)
	)
	o := queue.Outcome{Kind: job.EventRetrying, Error: err.Error()}
	if panicked != nil {
		o.Stack = panicked.stack
	}
	if errors.Is(cause, ErrTimeout) {
		o.Error = fmt.Sprintf("timed out after %v: %v", settings.Timeout, err)
	}
	switch {
	case (errors.Is(cause, ErrHandedBack) || errors.Is(cause, ErrGrantLost)) && panicked == nil && permanent == nil:
		return queue.Outcome{Kind: job.EventHandedBack}
	case later != nil && !later.attempt:
		return queue.Outcome{Kind: job.EventSnoozed, Delay: max(later.delay, time.Millisecond)}
	case malformed != nil:
		o.Kind, o.Reason = job.EventDead, job.ReasonMalformed
	case permanent != nil:
		o.Kind, o.Reason = job.EventDead, job.ReasonPermanent
	case attempt >= settings.MaxAttempts:
		o.Kind, o.Reason = job.EventDead, job.ReasonExhausted
	case later != nil:
		o.Delay = max(later.delay, 0)
	default:
		o.Delay = job.Backoff(settings.Backoff).Delay(attempt, rand.Float64())
	}
	return o
}
