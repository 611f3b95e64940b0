package view

import (
	"time"

	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
)

// A Job is a job as a list shows it. Times are by the broker's clock, but for StartedAt and EndedAt,
// which are by the worker's. The names of its fields as JSON are a contract.
type Job struct {
	Queue string    `json:"queue"`
	Type  string    `json:"type"`
	ID    string    `json:"id"`
	Life  string    `json:"life,omitempty"`
	State job.State `json:"state"`

	Attempt     int `json:"attempt,omitempty"` // the run to come, or the last one
	MaxAttempts int `json:"max_attempts,omitempty"`
	Crashes     int `json:"crashes,omitempty"`

	EnqueuedAt time.Time `json:"enqueued_at,omitzero"`
	ReadyAt    time.Time `json:"ready_at,omitzero"` // of one that is ready or runs
	RunAt      time.Time `json:"run_at,omitzero"`   // of one that waits for its time
	StartedAt  time.Time `json:"started_at,omitzero"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	Since      time.Time `json:"since,omitzero"` // when it came into its state

	Worker string            `json:"worker,omitempty"` // that runs it, or ran it last
	Reason string            `json:"reason,omitempty"` // why it is dead or cancelled
	Error  string            `json:"error,omitempty"`  // of its last run
	Meta   map[string]string `json:"meta,omitempty"`
	Trace  string            `json:"trace,omitempty"` // its trace's id

	Size    int    `json:"size"` // bytes of the payload
	Payload []byte `json:"-"`

	// Seq is the sequence of what the row was read from: the job's message, its event if it has ended,
	// its record if it is dead. A worker's word has none.
	Seq uint64 `json:"seq,omitempty"`
}

// place is where j is; what came from a broker has been checked.
func (j *Job) place() job.Place {
	p, _ := job.PlaceOf(j.Queue, j.Type, j.ID)
	return p
}

// isMeant reports whether a filter matches j. What group its error is of is found out if it asks.
func (j *Job) isMeant(f filter.Filter, now time.Time) bool {
	m := j.matched()
	if f.Has(filter.Group) {
		m.Group = GroupOf(j.Error, j.Reason).Code
	}
	return f.Match(m, now)
}

// matched is j as a filter looks at it.
func (j *Job) matched() *filter.Job {
	return &filter.Job{
		State: j.State, Queue: j.Queue, Type: j.Type, ID: j.ID, Life: j.Life,
		Worker: j.Worker, Reason: j.Reason, Error: j.Error, Trace: j.Trace,
		Payload: j.Payload, Meta: j.Meta, Attempt: j.Attempt, Crashes: j.Crashes,
		Since: j.Since, DueAt: j.RunAt, ReadyAt: j.ReadyAt, StartedAt: j.StartedAt, EndedAt: j.EndedAt,
	}
}

// addRecord takes over what a message's headers say.
func (j *Job) addRecord(r *job.Record) {
	j.Queue, j.Type, j.ID, j.Life = r.Queue, r.Type, r.ID, r.Life
	j.Attempt, j.MaxAttempts, j.Crashes = r.Attempt, r.MaxAttempts, r.Crashes
	j.EnqueuedAt, j.Meta, j.Trace = r.EnqueuedAt.UTC(), r.Meta, job.TraceID(r.Trace["traceparent"])
	j.Payload, j.Size = r.Payload, len(r.Payload)
}

// waitingJob is a job as its message has it.
func waitingJob(m *queue.Message) Job {
	j := Job{State: m.State(), Seq: m.Seq, Since: m.Stored}
	j.addRecord(&m.Record)
	if m.RunAt.IsZero() {
		j.ReadyAt = m.Stored
	} else {
		j.RunAt = m.RunAt.UTC()
	}
	return j
}

// deadJob is a job as its record has it.
func deadJob(d *queue.DeadJob) Job {
	j := Job{State: job.Dead, Seq: d.Seq, Since: d.DiedAt, EndedAt: d.DiedAt, Reason: d.Reason}
	j.addRecord(&d.Record)
	j.Size += d.PayloadOmitted
	if n := len(d.Failures); n > 0 {
		last := d.Failures[n-1]
		j.Error, j.Worker, j.Attempt = last.Error, last.Node, last.Attempt
	}
	return j
}

// endedJob is a job as its last event has it.
func endedJob(e *queue.JobEvent) Job {
	j := Job{
		Queue: e.Queue, Type: e.Type, ID: e.ID, Life: e.Life, State: e.Kind.State(), Attempt: e.Attempt, Crashes: e.Crashes,
		EnqueuedAt: e.EnqueuedAt.UTC(), Since: e.Time.UTC(), Seq: e.Sequence,
	}
	j.addEvent(&e.Event)
	if !e.RunAt.IsZero() {
		j.RunAt = e.RunAt.UTC()
	}
	return j
}

// addEvent takes over what the last event says of the run that ended.
func (j *Job) addEvent(e *queue.Event) {
	j.Error, j.Reason, j.Worker = e.Error, e.Reason, e.Node
	if !e.StartedAt.IsZero() && !j.State.Final() && j.State != job.Running {
		return // of a run before the one that it waits for
	}
	if !e.StartedAt.IsZero() {
		j.StartedAt = e.StartedAt.UTC()
	}
	if j.State.Final() {
		j.EndedAt = e.Time.UTC()
	}
}

// addRunning takes over what the worker says that runs it.
func (j *Job) addRunning(r *registry.Running) {
	j.State, j.Worker, j.StartedAt, j.Since = job.Running, r.Node, r.Since.UTC(), r.Since.UTC()
}

// runningJob is a job as its worker has it.
func runningJob(r *registry.Running) Job {
	j := Job{Queue: r.Queue, Type: r.Type, ID: r.ID, Life: r.Life}
	j.addRunning(r)
	return j
}

// traces are what a job has left in the broker, each nil if there is none.
type traces struct {
	message *queue.Message
	event   *queue.JobEvent // the last one
	dead    *queue.DeadJob
	running *registry.Running
}

// job makes a job of its traces; false if there are none. Of two lives it is the newer one: a
// sequence in the queue's stream says which that is.
func (t *traces) job() (Job, bool) {
	switch m, e := t.message, t.event; {
	case m != nil && (e == nil || !e.Kind.Final() || e.Event.Seq < m.Seq):
		j := waitingJob(m)
		if e != nil && e.Life == m.Life {
			j.addEvent(&e.Event)
		}
		if r := t.running; r != nil && j.State == job.Ready && (r.Life == "" || r.Life == m.Life) {
			j.addRunning(r)
		}
		return j, true
	case e != nil && e.Kind == job.EventDead && t.dead != nil && t.dead.Life == e.Life:
		j := deadJob(t.dead)
		j.addEvent(&e.Event)
		return j, true
	case e != nil:
		j := endedJob(e)
		if m != nil { // it lacks only the acknowledgement
			j.MaxAttempts, j.Meta, j.Payload, j.Size, j.Trace = m.MaxAttempts, m.Meta, m.Payload, len(m.Payload), job.TraceID(m.Trace["traceparent"])
		}
		return j, true
	case t.dead != nil:
		return deadJob(t.dead), true
	}
	return Job{}, false
}
