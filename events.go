package millhand

import (
	"context"
	"iter"
	"time"

	"github.com/millhand/millhand/internal/queue"
)

// An Event is the end of a run of a job, or of its life. Each life has exactly one
// event with a final state, and it is the last.
type Event struct {
	Ref
	State      State     // the job's from now on
	Kind       string    // succeeded, retrying, dead, cancelled, snoozed, handed_back or lost
	Attempt    int       // the run that ended
	Worker     string    // that wrote it
	Reason     string    // of a dead or cancelled job
	Error      string    // of a run that failed
	Result     []byte    // of a run that succeeded, as in [Info]
	Time       time.Time // UTC, by the worker's clock, as is StartedAt
	StartedAt  time.Time // of the run; zero if it never started
	EnqueuedAt time.Time // by the broker's clock
	RunAt      time.Time // of the next run, if it has a time
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
		State: State(e.Kind.State()), Kind: string(e.Kind), Attempt: e.Attempt, Worker: e.Node,
		Reason: e.Reason, Error: e.Error, Result: resultOf(&e.Event),
		Time: e.Time, StartedAt: e.StartedAt, EnqueuedAt: e.EnqueuedAt, RunAt: e.RunAt,
	}
}
