package millhand

import (
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/millhand/millhand/internal/job"
)

// An EnqueueOption says how one job is enqueued. What it is given must be something: an empty
// id or zero attempts are [ErrInvalid], never the default.
type EnqueueOption func(*enqueueOptions)

// Bounds of what the options take.
const (
	minUnique  = time.Second
	minExpires = time.Second // jobs come up to 0.25 s late
)

type enqueueOptions struct {
	job.Record
	chosenID      bool // or derived, so that it may have been used before
	unique        bool
	uniqueFor     time.Duration
	delay         time.Duration
	delayed       bool // a delay was given
	runAt         time.Time
	rejectAtQuota bool
	alone         bool  // see Alone
	err           error // of the first option that breaks its rule
}

// refuse notes an option that breaks its rule. The zero value does always: where it is kept, it means
// that the option was not given.
func (o *enqueueOptions) refuse(broken bool, what string, value any, rule string) {
	if broken && o.err == nil {
		o.err = job.Invalid(what, value, "%s", rule)
	}
}

// completeID gives the job the id that it has by its options and payload.
func (o *enqueueOptions) completeID() error {
	switch {
	case o.chosenID && o.unique:
		return job.Invalid("id", o.ID, "WithID gives the id, WithUnique derives it: use one")
	case o.chosenID:
	case o.unique, o.uniqueFor > 0:
		o.ID, o.chosenID = job.UniqueID(o.Type, o.Payload), true
	default:
		id, err := uuid.NewV7() // ordered by time, for people who look at lists
		if err != nil {
			return fmt.Errorf("new id: %w", err)
		}
		o.ID = id.String()
	}
	return nil
}

// WithQueue puts the job into a queue other than "default".
func WithQueue(name string) EnqueueOption { return func(o *enqueueOptions) { o.Queue = name } }

// WithID gives the job an id of the caller's choice. While a job of that queue, type
// and id is alive, another one is refused with [ErrDuplicate].
func WithID(id string) EnqueueOption {
	return func(o *enqueueOptions) { o.ID, o.chosenID = id, true }
}

// WithUnique gives the job an id that is derived from its type and payload, so that it is alive once:
// while there is a job with the same type and payload in the queue, another one is refused with
// [ErrDuplicate]. Payloads that are the same JSON are the same, whatever their spacing and the order
// of their members; docs/wire.md has the rule, for other languages. Nothing else counts, such as
// other options, or what middleware makes of the payload. It cannot be combined with [WithID].
func WithUnique() EnqueueOption { return func(o *enqueueOptions) { o.unique = true } }

// WithUniqueFor keeps the job's id taken for d after its time, also when it has ended: once per
// period. The job's time is when it is due or, if it does not wait, when it is enqueued, by the
// broker's clock. Without [WithID] the id is that of [WithUnique]. Whoever comes meanwhile gets a
// [*DuplicateError] that says until when the id is taken. It is free at most 0.25 s after that, or
// once [Client.Release] frees it.
//
// A job that never started leaves its id free when it ends: it was cancelled, expired or could not be
// read. If its worker vanished, nobody knows whether it had started, and the id stays taken. d is from
// 1 s to 366 days.
func WithUniqueFor(d time.Duration) EnqueueOption {
	return func(o *enqueueOptions) {
		o.uniqueFor = d
		o.refuse(d < minUnique || d > job.MaxUnique, "unique for", d, "must be from 1s to 8784h")
	}
}

// WithMaxAttempts bounds the runs that end in an error, from 1. It overrides the type's own
// setting.
func WithMaxAttempts(n int) EnqueueOption {
	return func(o *enqueueOptions) {
		o.MaxAttempts = n
		o.refuse(n == 0, "max attempts", n, "must be at least 1")
	}
}

// WithTimeout bounds one run of the job, which must be more than 0. It overrides the type's
// own setting.
func WithTimeout(d time.Duration) EnqueueOption {
	return func(o *enqueueOptions) {
		o.Timeout = d
		o.refuse(d == 0, "timeout", d, "must be more than 0")
	}
}

// WithDelay has the job wait for d before it may run, by the broker's clock. A d that is not more than
// 0 is no wait. It cannot be combined with [WithRunAt].
func WithDelay(d time.Duration) EnqueueOption {
	return func(o *enqueueOptions) {
		o.delay, o.delayed = d, true
	}
}

// WithRunAt has the job wait until t, by the broker's clock. A time that has passed is no wait. It may
// be ten years ahead at most, and cannot be combined with [WithDelay].
func WithRunAt(t time.Time) EnqueueOption {
	return func(o *enqueueOptions) {
		o.refuse(t.IsZero(), "time to run at", t, "must not be zero")
		o.runAt = t
	}
}

// WithExpires has a job that has not started within d of its time end as dead, with [ReasonExpired]:
// of the time that it is due at, or else at which it was enqueued, by the broker's clock. d is at
// least 1 s. A job that started once does not expire any more.
func WithExpires(d time.Duration) EnqueueOption {
	return func(o *enqueueOptions) {
		o.Expires = d
		o.refuse(d < minExpires, "expires", d, "must be at least 1s")
	}
}

// WithRejectAtQuota refuses the job with a [*QuotaError] while as many jobs of its type
// are alive in its queue as the type's quota lets run at once, instead of having it wait.
// However many callers ask so at the same time, no more than that get in. Jobs that are
// enqueued without this option are counted and not refused.
//
// A type without a quota refuses nothing. Since a misspelled type or a removed limit looks
// the same, the client logs a warning that names the type, once until the type has a quota.
func WithRejectAtQuota() EnqueueOption { return func(o *enqueueOptions) { o.rejectAtQuota = true } }

// WithAwait has the end of the job be written though its type ends in silence
// ([TypeConfig.SilentSuccess]), for a caller that is going to wait for it.
func WithAwait() EnqueueOption { return func(o *enqueueOptions) { o.Awaited = true } }

// WithTrace has the job belong to a trace: its keys are traceparent and tracestate of W3C Trace
// Context, as a propagator of OpenTelemetry writes them into a map. The handler finds them in
// [Job.Trace]. An empty trace is no trace.
func WithTrace(trace map[string]string) EnqueueOption {
	return func(o *enqueueOptions) { o.Trace = maps.Clone(trace) }
}

// WithMeta adds a key and value that reach the handler beside the payload.
func WithMeta(key, value string) EnqueueOption {
	return func(o *enqueueOptions) {
		if o.Meta == nil {
			o.Meta = make(map[string]string)
		}
		o.Meta[key] = value
	}
}
