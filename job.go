package millhand

import (
	"maps"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// Args is the payload of one type of job. It travels as JSON.
type Args interface {
	// Type names the type of job: at most 64 of A-Z a-z 0-9 _ -. It must not depend on
	// the value's fields, and a type that was ever enqueued keeps its name.
	Type() string
}

// Raw is the payload of a job as bytes, for a type that is known at run time only. The
// bytes travel as they are.
type Raw struct {
	Name    string // the job's type
	Payload []byte // the handler's own copy
}

// Type implements [Args].
func (r Raw) Type() string { return r.Name }

// MaxPayload is the largest payload that is enqueued, in bytes. A server with a small
// max_payload takes less.
const MaxPayload = job.MaxPayload

// A Job is one attempt at a job, as its handler sees it.
type Job[T any] struct {
	Ref
	Attempt     int // this run, from 1; runs cut short by a crash or a drain are not counted
	MaxAttempts int
	Crashes     int               // how often the job lost its worker
	EnqueuedAt  time.Time         // by the broker's clock
	Meta        map[string]string // as enqueued; a copy
	Trace       map[string]string // traceparent and tracestate of W3C Trace Context, as enqueued; a copy
	Args        T

	held *queue.Delivery
}

// LeaseUntil is until when the job is surely this worker's. It moves on as the lease is
// renewed; a handler that starts something which can outlive the process gives it
// this end. It is zero for a job that no worker holds, as in a test.
func (j *Job[T]) LeaseUntil() time.Time {
	if j.held == nil {
		return time.Time{}
	}
	return j.held.LeaseUntil()
}

// newJob is a job in hand as its handler sees it, but for its arguments.
func newJob[T any](h *queue.Delivery, maxAttempts int) *Job[T] {
	return &Job[T]{
		Ref: refOf(&h.Record), Attempt: h.Attempt, MaxAttempts: maxAttempts, Crashes: h.Crashes,
		EnqueuedAt: h.EnqueuedAt.UTC(), Meta: maps.Clone(h.Meta), Trace: maps.Clone(h.Trace), held: h,
	}
}

// jobOf is j as the handler of a type sees it, but for its arguments.
func jobOf[T any](j *Job[Raw]) *Job[T] {
	return &Job[T]{
		Ref: j.Ref, Attempt: j.Attempt, MaxAttempts: j.MaxAttempts, Crashes: j.Crashes,
		EnqueuedAt: j.EnqueuedAt, Meta: j.Meta, Trace: j.Trace, held: j.held,
	}
}

// A Ref names a job; with its life, this very one among all that ever had its id. It
// can be stored and used from any process.
type Ref struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	Queue string `json:"queue"`
	Life  string `json:"life,omitempty"` // empty: the newest
}

// refOf names the job that r records.
func refOf(r *job.Record) Ref { return Ref{ID: r.ID, Type: r.Type, Queue: r.Queue, Life: r.Life} }

// A State is where a job is in its life.
type State string

// The states of a job. The last three are final.
const (
	Scheduled = State(job.Scheduled) // waits for its time
	Ready     = State(job.Ready)     // waits for a worker, or runs: the queue does not tell them apart
	Retrying  = State(job.Retrying)  // failed, and waits for its next attempt
	Succeeded = State(job.Succeeded)
	Dead      = State(job.Dead)      // will not be run again; kept whole
	Cancelled = State(job.Cancelled) // ended before it could succeed
)

// Final reports whether a job ends in s.
func (s State) Final() bool { return job.State(s).Final() }

// Info is what is known about a job. Times are UTC, and zero while they have not come.
type Info struct {
	Ref
	State       State
	Attempt     int // the run that ended last or, of a job that waits, the next
	MaxAttempts int // 0: the worker's setting
	Crashes     int
	Meta        map[string]string
	EnqueuedAt  time.Time
	StartedAt   time.Time // of the last run that ended
	RunAt       time.Time // of a job that waits for its time
	FinishedAt  time.Time
	Worker      string    // that ended the last run
	Reason      string    // why it is dead or cancelled: exhausted, permanent, expired, malformed, crashed, superseded
	Failures    []Failure // of this life, oldest first, as far as the broker keeps them
	Result      []byte    // of a job that succeeded: JSON, where text is a JSON string; bytes that are no text as they are
}

// LastError is the text of the job's last failure, or empty.
func (i *Info) LastError() string {
	if len(i.Failures) == 0 {
		return ""
	}
	return i.Failures[len(i.Failures)-1].Error
}

// A Failure is one run of a job that did not succeed.
type Failure struct {
	Attempt int       `json:"attempt"`
	Time    time.Time `json:"time"`
	Worker  string    `json:"worker,omitempty"`
	State   State     `json:"state"` // the job's, after it: retrying, dead, or ready if the worker vanished
	Error   string    `json:"error"`
	Stack   string    `json:"stack,omitempty"` // of a panic
}

func (i *Info) addWaiting(m *queue.Message) {
	i.Life, i.Attempt, i.MaxAttempts, i.Crashes = m.Life, m.Attempt, m.MaxAttempts, m.Crashes
	i.Meta, i.EnqueuedAt, i.RunAt = m.Meta, m.EnqueuedAt.UTC(), m.RunAt
	i.State = Ready
	switch {
	case m.RunAt.IsZero():
	case m.Attempt > 1:
		i.State = Retrying
	default:
		i.State = Scheduled
	}
}

func (i *Info) addEvent(e *queue.Event) {
	i.Life, i.Worker, i.StartedAt = e.Life, e.Node, e.StartedAt
	if i.EnqueuedAt.IsZero() {
		i.EnqueuedAt = e.EnqueuedAt
	}
	if e.Kind.Final() {
		i.State, i.Attempt, i.Crashes, i.FinishedAt, i.Reason = State(e.Kind.State()), e.Attempt, e.Crashes, e.Time, e.Reason
		i.Result = resultOf(e)
	}
	if e.Error != "" || e.Kind == job.EventLost {
		f := Failure{Attempt: e.Attempt, Time: e.Time, Worker: e.Node, State: State(e.Kind.State()), Error: e.Error, Stack: e.Stack}
		if e.Kind == job.EventLost {
			f.Worker, f.Error = "", "the worker vanished while it had the job"
		}
		i.Failures = append(i.Failures, f)
	}
}

// resultOf undoes what [queue.Event.SetResult] does to text and bytes.
func resultOf(e *queue.Event) []byte {
	if len(e.ResultBase64) > 0 {
		return e.ResultBase64
	}
	return e.Result
}
