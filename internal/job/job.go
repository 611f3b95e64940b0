// Package job is the domain without a broker: what a job is, which states it
// passes through, how it travels in a message's headers, and when it is retried.
// It is pure and imports the standard library only.
package job

import "time"

// Defaults of a job that says nothing itself.
const (
	DefaultQueue       = "default"
	DefaultMaxAttempts = 10
	// MaxCrashes is how often a job may lose its worker before it is dead: a job
	// that kills its worker must not circle for ever.
	MaxCrashes = 5
	// MaxPayload is the largest payload that is enqueued, in bytes. It is below
	// what the embedded broker accepts, so that the headers of a retry always fit.
	MaxPayload = 1 << 20
)

// A Record is one job as it travels through a queue: the payload as the caller
// gave it, and everything else that a message's headers carry.
type Record struct {
	Queue, Type, ID string

	// Life tells two jobs with the same id apart: random per enqueue, and the
	// stream sequence of the first message where the publisher gave none.
	Life        string
	Attempt     int           // the run to come, counted from 1
	Crashes     int           // lost leases so far
	MaxAttempts int           // 0: the worker's setting for the type
	Timeout     time.Duration // of one run; 0: the worker's setting for the type
	Expires     time.Duration // dead if not started once this long after Due, else EnqueuedAt; 0: never
	EnqueuedAt  time.Time     // by the broker's clock; zero in a first message, whose own timestamp it is
	Due         time.Time     // when it was to run at the earliest, by the broker's clock; zero: at once
	Started     bool          // a run of it has started, which a message that was handed back unstarted does not say

	// LastEvent is the sequence of the job's last event when this message was
	// written, 0 for a fresh life.
	LastEvent uint64
	// From names the holder that wrote this message as a successor, so that it
	// recognizes its own write when the confirmation was lost.
	From string

	UniqueUntil time.Time // the id stays taken until then, also when the job has ended; zero: until it has
	Reused      bool      // the id was chosen, so that it may have had lives before
	Awaited     bool      // somebody waits for the end, which is written even of a type that ends in silence
	RetryOf     string    // the life that died, of a dead job that was requeued
	Tick        *Tick     // of a job of cron; nil: another one
	Workflow    string    // which step of which workflow it is; empty: of none

	Meta  map[string]string
	Trace map[string]string // traceparent and tracestate, passed through
	// RunTrace is the traceparent of the last run before, of those that were traced.
	RunTrace string
	Payload  []byte
}

// WorkflowType is the type of the jobs by which workflows drive themselves. Types that begin like it are
// reserved.
const WorkflowType = "_workflow"

// InWorkflow reports whether the end of r concerns a workflow.
func (r *Record) InWorkflow() bool { return r.Workflow != "" || r.Type == WorkflowType }

// A Tick says which one of cron's a job is.
type Tick struct {
	Entry string
	Rev   uint64    // of the entry, by which it was published
	Time  time.Time // in the entry's zone
}

// Place returns where r is, or an [*InvalidError] if that cannot be.
func (r *Record) Place() (Place, error) { return PlaceOf(r.Queue, r.Type, r.ID) }

// Expired reports whether the job was to be started before now, by the broker's clock.
func (r *Record) Expired(now time.Time) bool {
	deadline := r.Deadline()
	return !deadline.IsZero() && now.After(deadline)
}

// Deadline is when the job expires unless it starts, zero if it never does. One that was started once,
// and waits again since it failed, snoozed or lost its worker, does not expire.
func (r *Record) Deadline() time.Time {
	from := r.Due
	if from.IsZero() {
		from = r.EnqueuedAt
	}
	if r.HasStarted() || r.Expires <= 0 || from.IsZero() {
		return time.Time{}
	}
	return from.Add(r.Expires)
}

// HasStarted reports whether a run of the job may have started before the one to come. What an earlier
// version wrote does not say, but for those that failed or were lost.
func (r *Record) HasStarted() bool { return r.Started || r.Attempt > 1 || r.Crashes > 0 }

// Check returns an [*InvalidError] that names the rule which r breaks, if any.
func (r *Record) Check() error {
	if _, err := r.Place(); err != nil {
		return err
	}
	if err := CheckMeta(r.Meta); err != nil {
		return err
	}
	if err := CheckTrace(r.Trace); err != nil {
		return err
	}
	switch {
	case r.MaxAttempts < 0 || r.MaxAttempts > MaxMaxAttempts:
		return Invalid("max attempts", r.MaxAttempts, "must be from 1 to %d", MaxMaxAttempts)
	case r.Timeout < 0:
		return Invalid("timeout", r.Timeout, "must not be negative")
	case r.Expires < 0:
		return Invalid("expires", r.Expires, "must not be negative")
	}
	return nil
}
