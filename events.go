package millhand

import (
	"context"
	"iter"
	"time"

	"github.com/millhand/millhand/internal/queue"
)

// An EventKind is what happened to a job.
type EventKind string

// The kinds of events. The last three end a life, and each life has exactly one of them.
const (
	EventRetrying   EventKind = "retrying"    // a run failed, and the next one waits for its time
	EventSnoozed    EventKind = "snoozed"     // the handler asked to be run later: [Snooze]
	EventHandedBack EventKind = "handed_back" // the worker stopped, or lacked something: ready again
	EventLost       EventKind = "lost"        // the worker vanished: ready again
	EventSucceeded  EventKind = "succeeded"
	EventDead       EventKind = "dead"
	EventCancelled  EventKind = "cancelled"
)

// An Event is the end of a run of a job, or of its life. Each life has exactly one
// event with a final state, and it is the last.
type Event struct {
	Ref
	State      State     `json:"state"` // the job's from now on
	Kind       EventKind `json:"kind"`
	Attempt    int       `json:"attempt"`              // the run that ended, or that was next: see StartedAt
	Worker     string    `json:"worker,omitempty"`     // that wrote it
	Reason     Reason    `json:"reason,omitempty"`     // of a dead or cancelled job
	Error      string    `json:"error,omitempty"`      // of a run that failed
	Time       time.Time `json:"time"`                 // UTC, by the worker's clock, as is StartedAt
	StartedAt  time.Time `json:"started_at,omitzero"`  // of the run; zero if none is known to have begun
	EnqueuedAt time.Time `json:"enqueued_at,omitzero"` // by the broker's clock
	RunAt      time.Time `json:"run_at,omitzero"`      // of the next run, if it has a time
	Trace      string    `json:"trace,omitempty"`      // the id of the run's trace, if it was traced and sampled
	Returned             // by the handler of a run that succeeded
}

// Events yields what happened to all jobs of the namespace since a time and what happens
// next, in order and without gaps, until ctx ends or the caller breaks. A zero time means
// from now on. An error is the last thing it yields.
func (c *Client) Events(ctx context.Context, since time.Time) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for e, err := range c.store.Feed(ctx, since) {
			if !yield(eventOf(e), publicError(err)) {
				return
			}
		}
	}
}

func eventOf(e queue.JobEvent) Event {
	return Event{
		Ref:   Ref{ID: e.ID, Type: e.Type, Queue: e.Queue, Life: e.Life},
		State: State(e.Kind.State()), Kind: EventKind(e.Kind), Attempt: e.Attempt, Worker: e.Node,
		Reason: Reason(e.Reason), Error: e.Error, Returned: returnedOf(&e.Event),
		Time: e.Time, StartedAt: e.StartedAt, EnqueuedAt: e.EnqueuedAt, RunAt: e.RunAt, Trace: e.Trace,
	}
}
