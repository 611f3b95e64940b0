package millhand

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/worker"
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
	RunAt       time.Time         // when it was due, of a job that waited for its time or for its next attempt; else zero
	Tick        time.Time         // of a job of a [Cron], in the entry's zone; else zero
	Meta        map[string]string // as enqueued; a copy
	Trace       map[string]string // traceparent and tracestate of W3C Trace Context, as enqueued; a copy
	RunTrace    string            // traceparent of the run before, if that was traced
	Args        T

	held *queue.Delivery
	part *batchPart  // nil: it is of no batch
	kept *keptResult // nil: it is of no [JobSource]
}

// SetResult sets what is kept of a job of a [JobSource], as JSON, if it succeeds: see [HandleResult]. A v
// that cannot be encoded fails it for good. Of other jobs it does nothing: their handlers return it.
func (j *Job[T]) SetResult(v any) {
	if j.kept != nil {
		j.kept.set(v)
	}
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

// Outcome returns what follows for the job if this run ends now with err, nil for a success: an
// [Event] of that kind. ctx is the one that the run was given. It is for [Middleware] that counts
// how runs end, the outermost one, since any other does not have the last word on the error. It is
// empty if the worker gave the handler up, and so has settled the run without it. A result that
// turns out to be too large for the broker is not foreseen: that job is dead.
func (j *Job[T]) Outcome(ctx context.Context, err error) EventKind {
	switch {
	case j.held != nil && j.held.Left():
		return ""
	case j.held != nil && j.held.Alive() != nil:
		return EventLost
	}
	return EventKind(worker.Follows(j.Attempt, j.MaxAttempts, err, context.Cause(ctx)))
}

// newJob is a job in hand as its handler sees it, but for its arguments.
func newJob[T any](h *queue.Delivery, maxAttempts int) *Job[T] {
	return &Job[T]{
		Ref: refOf(&h.Record), Attempt: h.Attempt, MaxAttempts: maxAttempts, Crashes: h.Crashes,
		EnqueuedAt: h.EnqueuedAt.UTC(), RunAt: h.Due.UTC(), Tick: tickOf(&h.Record), Meta: maps.Clone(h.Meta), Trace: maps.Clone(h.Trace), RunTrace: h.RunTrace, held: h,
	}
}

func tickOf(r *job.Record) time.Time {
	if r.Tick == nil {
		return time.Time{}
	}
	return r.Tick.Time
}

// jobOf is j as the handler of a type sees it, but for its arguments.
func jobOf[T any](j *Job[Raw]) *Job[T] {
	return &Job[T]{
		Ref: j.Ref, Attempt: j.Attempt, MaxAttempts: j.MaxAttempts, Crashes: j.Crashes,
		EnqueuedAt: j.EnqueuedAt, RunAt: j.RunAt, Tick: j.Tick, Meta: j.Meta, Trace: j.Trace, RunTrace: j.RunTrace, held: j.held,
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
	Scheduled State = "scheduled" // waits for its time
	Ready     State = "ready"     // waits for a worker, or runs: [Client.Get] does not tell them apart
	Running   State = "running"   // a worker has it in hand: only those say so that ask the workers, as [Client.Watch] and [Client.Jobs] do
	Retrying  State = "retrying"  // failed, and waits for its next attempt
	Succeeded State = "succeeded"
	Dead      State = "dead"      // will not be run again; kept whole
	Cancelled State = "cancelled" // ended before it could succeed
)

// Final reports whether a job ends in s.
func (s State) Final() bool { return job.State(s).Final() }

// A Reason says why a job is dead or cancelled.
type Reason string

// The reasons. [ReasonSuperseded], [ReasonMissed] and [ReasonRequested] are those of a cancelled job.
const (
	ReasonExhausted  Reason = "exhausted"  // no attempts are left
	ReasonPermanent  Reason = "permanent"  // the handler said that no attempt will help: [Permanent]
	ReasonExpired    Reason = "expired"    // it was not started in time
	ReasonMalformed  Reason = "malformed"  // a header or the payload cannot be read
	ReasonCrashed    Reason = "crashed"    // it lost its worker too often
	ReasonSuperseded Reason = "superseded" // a newer job took its id, or the [Cron] that it is of was edited or removed
	ReasonStep       Reason = "step"       // it is a workflow, and a step of it failed
	ReasonUndo       Reason = "undo"       // it is a workflow, and a step failed that was to undo another
	ReasonDeadline   Reason = "deadline"   // it is a workflow and did not end in time
	ReasonMissed     Reason = "missed"     // it is of a [Cron] and came too late
	ReasonRequested  Reason = "requested"  // somebody cancelled it: [Client.Cancel]
)

// Info is what is known about a job. Times are UTC, and zero while they have not come.
type Info struct {
	Ref
	State       State             `json:"state"`
	Attempt     int               `json:"attempt"`                // the run that is next or, of a job that has ended, that ended last: 0 if none did
	MaxAttempts int               `json:"max_attempts,omitempty"` // 0: the worker's setting
	Crashes     int               `json:"crashes,omitempty"`
	Meta        map[string]string `json:"meta,omitempty"`
	EnqueuedAt  time.Time         `json:"enqueued_at,omitzero"`
	StartedAt   time.Time         `json:"started_at,omitzero"`  // of the run that ended last; zero if the job ended before one began
	RunAt       time.Time         `json:"run_at,omitzero"`      // of a job that waits for its time
	FinishedAt  time.Time         `json:"finished_at,omitzero"` // of a job that has ended
	Worker      string            `json:"worker,omitempty"`     // that ended the last run
	Reason      Reason            `json:"reason,omitempty"`     // why it is dead or cancelled
	Progress    Progress          `json:"progress,omitzero"`    // of a job that [Client.Watch] found running
	Failures    []Failure         `json:"failures,omitempty"`   // of this life, oldest first, as far as the broker keeps them; the last one, from [Client.Await]
	Returned                      // by the handler of a job that succeeded
}

// Returned is what a handler returned, in the form in which it is kept: zero if there was
// nothing. [Returned.Output] has it as it was.
type Returned struct {
	Result      json.RawMessage `json:"result,omitempty"`        // as JSON, in which text is a JSON string
	ResultText  bool            `json:"result_text,omitempty"`   // Result is a string for text that is no JSON: hello, not "hello"
	ResultBytes []byte          `json:"result_base64,omitempty"` // what JSON cannot hold, instead of Result
}

// Output returns what the handler returned: of [HandleResult] the JSON of its result, of a
// [HandlerFunc] its bytes. Only the space between the tokens of JSON is not kept.
func (r *Returned) Output() []byte {
	e := queue.Event{Result: r.Result, ResultText: r.ResultText, ResultBase64: r.ResultBytes}
	return e.Output()
}

// LastError is the text of the job's last failure, or empty.
func (i *Info) LastError() string {
	if len(i.Failures) == 0 {
		return ""
	}
	return i.Failures[len(i.Failures)-1].Error
}

// A Failure is one run of a job that did not succeed, or what ended the job before a run.
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
	i.State = State(m.State())
}

func (i *Info) addEvent(e *queue.Event) {
	i.Life, i.Worker, i.StartedAt = e.Life, e.Node, e.StartedAt
	if i.EnqueuedAt.IsZero() {
		i.EnqueuedAt = e.EnqueuedAt
	}
	if e.Kind.Final() {
		i.State, i.Attempt, i.Crashes, i.FinishedAt, i.Reason = State(e.Kind.State()), lastRun(e), e.Crashes, e.Time, Reason(e.Reason)
		i.Returned = returnedOf(e)
	}
	if e.Error != "" || e.Kind == job.EventLost {
		i.Failures = append(i.Failures, failureOf(queue.Failure{
			Attempt: e.Attempt, Time: e.Time, Node: e.Node, Event: string(e.Kind), Error: e.Error, Stack: e.Stack,
		}))
	}
}

// lastRun is the attempt that ended last. That of the end did not, unless a run of it began: the job
// expired, was cancelled while it waited, or lost its worker.
func lastRun(end *queue.Event) int {
	if end.StartedAt.IsZero() {
		return end.Attempt - 1
	}
	return end.Attempt
}

func failureOf(q queue.Failure) Failure {
	kind := job.EventKind(q.Event)
	f := Failure{Attempt: q.Attempt, Time: q.Time, Worker: q.Node, State: State(kind.State()), Error: q.Error, Stack: q.Stack}
	if kind == job.EventLost {
		f.Worker, f.Error = "", "the worker vanished while it had the job"
	}
	return f
}

func returnedOf(e *queue.Event) Returned {
	return Returned{Result: e.Result, ResultText: e.ResultText, ResultBytes: e.ResultBase64}
}
