package worker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// Follows returns what follows an attempt that ended with err, nil included, its context with cause.
func Follows(attempt, maxAttempts int, err, cause error) job.EventKind {
	if err == nil {
		return job.EventSucceeded
	}
	return outcome(attempt, Settings{MaxAttempts: maxAttempts}, err, cause).Kind
}

// outcome decides what follows an attempt that ended with err, its context with cause. The first
// line that applies decides:
//
//	somebody cancelled the job                                     cancelled
//	stopped by a drain or a lost permit, no panic, not permanent   handed back, nothing counted
//	the handler hands it back                                      handed back, with its error
//	the handler snoozes                                            snoozed, nothing counted
//	the payload cannot be read                                     dead, malformed
//	the handler gives it up                                        dead, permanent
//	it was the last attempt                                        dead, exhausted
//	the handler says when to retry                                 retrying, then
//	anything else                                                  retrying, after its backoff
//
// What somebody wants comes before what an error means, and whatever ends the job before what
// would run it again. A worker that stops must not count an attempt that it cut short, but what a
// handler knows for certain by then is not forgotten.
func outcome(attempt int, settings Settings, err, cause error) queue.Outcome {
	var (
		panicked, _  = errors.AsType[*job.PanicError](err)
		permanent, _ = errors.AsType[*job.PermanentError](err)
		malformed, _ = errors.AsType[*job.MalformedError](err)
		back, _      = errors.AsType[*job.HandBackError](err)
		later, _     = errors.AsType[*job.LaterError](err)
	)
	o := queue.Outcome{Kind: job.EventRetrying, Error: err.Error()}
	if panicked != nil {
		o.Stack = panicked.Stack
	}
	if errors.Is(cause, job.ErrTimeout) {
		o.Error = fmt.Sprintf("timed out after %v: %v", settings.Timeout, err)
	}
	switch {
	case errors.Is(cause, job.ErrCancelled):
		return queue.Outcome{Kind: job.EventCancelled, Reason: job.ReasonRequested}
	case (errors.Is(cause, job.ErrHandedBack) || errors.Is(cause, job.ErrPermitLost)) && panicked == nil && permanent == nil:
		return queue.Outcome{Kind: job.EventHandedBack}
	case back != nil: // a timeout that came meanwhile is part of the trouble
		return queue.Outcome{Kind: job.EventHandedBack, Error: err.Error()}
	case later != nil && !later.Attempt:
		return queue.Outcome{Kind: job.EventSnoozed, Delay: max(later.Delay, time.Millisecond)}
	case malformed != nil:
		o.Kind, o.Reason = job.EventDead, job.ReasonMalformed
	case permanent != nil:
		o.Kind, o.Reason = job.EventDead, job.ReasonPermanent
	case attempt >= settings.MaxAttempts:
		o.Kind, o.Reason = job.EventDead, job.ReasonExhausted
	case later != nil:
		o.Delay = max(later.Delay, 0)
	default:
		o.Delay = settings.Backoff.Delay(attempt, rand.Float64())
	}
	return o
}
