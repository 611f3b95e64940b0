package millhand

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/worker"
)

// Errors to compare with [errors.Is].
var (
	// ErrInvalid says that something given breaks a rule: a job, a name, an option, a setting
	// or a connection. Nothing was done. [InvalidError] says what breaks which rule.
	ErrInvalid = errors.New("millhand: invalid")
	// ErrDuplicate says that a job with the chosen id is alive, or that its id is kept.
	// [DuplicateError] names it.
	ErrDuplicate = errors.New("millhand: duplicate job")
	// ErrQuotaReached says that a job was refused because as many of its type are alive as may
	// run at once. [QuotaError] has the numbers. Only [WithRejectAtQuota] asks for it.
	ErrQuotaReached = errors.New("millhand: quota reached")
	// ErrNotSent says that a job is certainly not stored: the context had ended before it was sent.
	ErrNotSent = errors.New("millhand: job was not sent")
	// ErrStoreFull says that the broker has no room for a job and has not stored it. Try again
	// once workers have drained what is there.
	ErrStoreFull = errors.New("millhand: store full")
	// ErrNotScheduled says that a job cannot be moved, since it does not wait for its time any more,
	// or is due within a second.
	ErrNotScheduled = errors.New("millhand: job is due")
	// ErrFinished says that nothing can be done about a job, since it has ended. [FinishedError]
	// says how.
	ErrFinished = errors.New("millhand: job has ended already")
	// ErrUnsupported says that a stream was made by an earlier version, lacks what a call needs, and
	// could not be completed: its error names the command that does so.
	ErrUnsupported = errors.New("millhand: not supported")
	// ErrNotFound says that no such job is known, or that it is not known any more.
	ErrNotFound = errors.New("millhand: job not found")
	// ErrNoRecord is the [ErrNotFound] of a job that there was, since its life is known: it has
	// ended, and nothing says how. It succeeded if its type has SilentSuccess and its events
	// have not expired yet.
	ErrNoRecord = fmt.Errorf("%w: it has ended and left no record, as successes of a type with SilentSuccess do, or its events have expired", ErrNotFound)
	// ErrFailed says that an awaited job is dead. [FailedError] says why.
	ErrFailed = errors.New("millhand: job failed")
	// ErrCancelled says that an awaited job was cancelled. It is also the cause of a handler's
	// cancelled context when somebody cancelled the job while it ran: the job ends as cancelled,
	// unless the handler returns nil.
	ErrCancelled = job.ErrCancelled

	// ErrLeaseLost is the cause of a handler's cancelled context when the job may run
	// elsewhere by now: whatever the handler still does may be done twice.
	ErrLeaseLost = job.ErrLeaseLost
	// ErrHandedBack is the cause of a handler's cancelled context when its worker
	// stops: the job will run again, with no attempt counted.
	ErrHandedBack = job.ErrHandedBack
	// ErrPermitLost is the cause of a handler's cancelled context when its worker could not
	// renew its permit to run a job of that [Quota]: another job may run in its place by now. The
	// job runs again, with no attempt counted.
	ErrPermitLost = job.ErrPermitLost
	// ErrTimeout is the cause of a handler's cancelled context when its run took longer
	// than it may. It counts as a failed attempt. [Map] yields it for a job that took longer
	// than its Timeout.
	ErrTimeout = job.ErrTimeout

	// ErrDrainTimeout is what [Worker.Run] returns when jobs had to be handed back.
	ErrDrainTimeout = worker.ErrDrainTimeout
	// ErrAbandoned is what [Worker.Run] returns when more than MaxAbandoned handlers ignored the end
	// of their context: the process should be started again.
	ErrAbandoned = worker.ErrAbandoned
)

// An InvalidError says what breaks which rule. It is an [ErrInvalid].
type InvalidError struct {
	What string // what is at fault, such as "queue", "max attempts" or "the connection"
	Name string // what it was given, as text; empty if it was given nothing
	Rule string // the rule, to be read after What and Name: "must be at least 1"
}

func (e *InvalidError) Error() string { return "millhand: " + (*job.InvalidError)(e).Error() }

// Is makes it an [ErrInvalid].
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// A DuplicateError names the living job that is in the way of a new one, or the one that ended and
// whose id is kept. It is an [ErrDuplicate].
type DuplicateError struct {
	Existing Ref
	Until    time.Time // of an id that is kept after its job's end; zero while the job is alive
}

func (e *DuplicateError) Error() string {
	if !e.Until.IsZero() {
		return fmt.Sprintf("millhand: id %s of type %s in queue %s is taken until %s", e.Existing.ID, e.Existing.Type, e.Existing.Queue, e.Until.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("millhand: job %s of type %s is already in queue %s", e.Existing.ID, e.Existing.Type, e.Existing.Queue)
}

// Is makes it an [ErrDuplicate].
func (e *DuplicateError) Is(target error) bool { return target == ErrDuplicate }

// A QuotaError says at which quota a job was refused. It is an [ErrQuotaReached], and its text
// can be shown to people as it is.
type QuotaError struct {
	Type    string
	Limit   int
	Running int // alive in the queue; more than the limit if some were enqueued to wait
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("%s quota reached (%d of %d running)", e.Type, e.Running, e.Limit)
}

// Is makes it an [ErrQuotaReached].
func (e *QuotaError) Is(target error) bool { return target == ErrQuotaReached }

// A FailedError tells how an awaited job died.
type FailedError struct {
	Ref
	Attempts int // as [Info] has them: 0 if none came to an end
	Reason   Reason
	Message  string // of the last failure
}

func (e *FailedError) Error() string {
	after := ""
	if e.Attempts > 0 {
		after = fmt.Sprintf(" after attempt %d", e.Attempts)
	}
	return fmt.Sprintf("millhand: job %s is dead (%s)%s: %s", e.ID, e.Reason, after, e.Message)
}

// Is makes it an [ErrFailed].
func (e *FailedError) Is(target error) bool { return target == ErrFailed }

// A FinishedError says how a job had ended about which something was to be done. It is an
// [ErrFinished].
type FinishedError struct {
	Ref
	State State
}

func (e *FinishedError) Error() string {
	return fmt.Sprintf("millhand: job %s has ended already: %s", e.ID, e.State)
}

// Is makes it an [ErrFinished].
func (e *FinishedError) Is(target error) bool { return target == ErrFinished }

// A BatchError tells which jobs of a [Client.EnqueueMany] were not enqueued. Those without an
// error were. [MaybeStored] tells those that were refused from those whose answer was lost.
type BatchError struct {
	Errs []error // of each job; nil for those that were enqueued
}

func (e *BatchError) Error() string {
	not, unsure := 0, 0
	var first error
	for _, err := range e.Errs {
		switch {
		case err == nil:
			continue
		case MaybeStored(err):
			unsure++
		default:
			not++
		}
		if first == nil {
			first = err
		}
	}
	switch {
	case unsure == 0:
		return fmt.Sprintf("millhand: %d of %d jobs were not enqueued, first: %v", not, len(e.Errs), first)
	case not == 0:
		return fmt.Sprintf("millhand: %d of %d jobs may not be enqueued, first: %v", unsure, len(e.Errs), first)
	}
	return fmt.Sprintf("millhand: %d of %d jobs were not enqueued, and %d more may not be, first: %v", not, len(e.Errs), unsure, first)
}

// Unwrap returns the errors there are.
func (e *BatchError) Unwrap() []error {
	var errs []error
	for _, err := range e.Errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// An AtomicError says which job kept those of a [Client.EnqueueAtomic] from being enqueued, and
// why. None of them is stored.
type AtomicError struct {
	Index int // in the batch
	Err   error
}

func (e *AtomicError) Error() string {
	return fmt.Sprintf("millhand: nothing was enqueued: job %d of the batch: %s", e.Index, strings.TrimPrefix(e.Err.Error(), "millhand: "))
}

// Unwrap returns what is the matter with that job: [ErrDuplicate], [ErrInvalid] or
// [ErrQuotaReached], among others.
func (e *AtomicError) Unwrap() error { return e.Err }

// MaybeStored reports whether an enqueue that returned err may have stored the job
// nevertheless: the broker's answer was lost, or nobody waited for it. If it returns false for
// an error, the job is certainly not stored. Of a [*BatchError] that is true of all its jobs, while
// true says that at least one of them is stored or may be.
func MaybeStored(err error) bool {
	if err == nil {
		return false
	}
	if batch, ok := errors.AsType[*BatchError](err); ok {
		return slices.ContainsFunc(batch.Errs, func(err error) bool { return err == nil || MaybeStored(err) })
	}
	if _, none := errors.AsType[*AtomicError](err); none {
		return false
	}
	for _, refused := range []error{ErrInvalid, ErrDuplicate, ErrQuotaReached, ErrNotSent, ErrStoreFull, ErrUnsupported} {
		if errors.Is(err, refused) {
			return false
		}
	}
	return true
}

// notSentError is an [ErrNotSent] with why its context ended.
type notSentError struct{ cause error }

func (e *notSentError) Error() string        { return "millhand: " + e.cause.Error() }
func (e *notSentError) Unwrap() error        { return e.cause }
func (e *notSentError) Is(target error) bool { return target == ErrNotSent }

// Permanent marks a handler's error as one that no further attempt will mend: the job
// is dead at once. It returns nil for a nil err.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &job.PermanentError{Err: err}
}

// IsPermanent reports whether err is one of [Permanent].
func IsPermanent(err error) bool {
	_, ok := errors.AsType[*job.PermanentError](err)
	return ok
}

// RetryAfter marks a handler's error as a failed attempt whose next one is to come
// after d instead of the backoff's delay. It returns nil for a nil err.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &job.LaterError{Err: err, Delay: d, Attempt: true}
}

// Snooze is what a handler returns to be run again after d, without that counting as
// an attempt.
func Snooze(d time.Duration) error {
	return &job.LaterError{Err: errors.New("snoozed"), Delay: d}
}

// HandBack marks a handler's error as trouble that is not the job's: what its worker lacks, for
// one, such as descriptors. The job runs again, here or elsewhere, with no attempt counted, for
// as often as its handler says so. It is ready at once: whoever lacks something that other jobs
// would lack as well waits a moment first. It returns nil for a nil err.
func HandBack(err error) error {
	if err == nil {
		return nil
	}
	return &job.HandBackError{Err: err}
}

// publicError translates an internal package's error for callers of this one.
func publicError(err error) error {
	if err == nil {
		return nil
	}
	if a, ok := errors.AsType[*queue.AtomicError](err); ok {
		return &AtomicError{Index: a.Index, Err: publicError(a.Err)}
	}
	if i, ok := errors.AsType[*job.InvalidError](err); ok {
		return (*InvalidError)(i)
	}
	if d, ok := errors.AsType[*queue.DuplicateError](err); ok {
		return &DuplicateError{Existing: Ref{ID: d.ID, Type: d.Type, Queue: d.Queue, Life: d.Life}, Until: d.Until}
	}
	if q, ok := errors.AsType[*queue.QuotaError](err); ok {
		return &QuotaError{Type: q.Type, Limit: q.Limit, Running: q.Running}
	}
	err = queue.Refusal(err)
	if _, full := errors.AsType[*queue.FullError](err); full {
		return fmt.Errorf("%w: %w", ErrStoreFull, err)
	}
	if l, ok := errors.AsType[*queue.TooLargeError](err); ok {
		return &InvalidError{What: fmt.Sprintf("%s of %d bytes", l.What, l.Size), Rule: l.Rule()}
	}
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, queue.ErrNotSent):
		return &notSentError{cause: err}
	case errors.Is(err, queue.ErrUnsupported):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return fmt.Errorf("millhand: %w", err)
}

// about puts what an error is about before what is at fault there.
func about(what string, err error) error {
	if i, ok := errors.AsType[*job.InvalidError](err); ok {
		return &job.InvalidError{What: what + ": " + i.What, Name: i.Name, Rule: i.Rule}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// invalid makes an error about what was given an [ErrInvalid].
func invalid(err error) error {
	if _, ok := errors.AsType[*job.InvalidError](err); ok {
		return publicError(err)
	}
	return fmt.Errorf("%w: %w", ErrInvalid, err)
}
