package millhand

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// A JobFilter says which of the jobs that are alive are meant.
type JobFilter struct {
	Queue  string    // default "default"
	Type   string    // empty: all
	States []State   // Scheduled, Retrying, Ready, Running; empty: all
	DueBy  time.Time // of those that wait for their time: due by then; zero: any
}

// Jobs yields the jobs of a queue that are alive and match, in the order in which they came into their
// states, with an error last if there is one. It shows them as of now: one that moves on while it is
// looked for, such as when its time comes, may be missing. Reading costs the broker little, and a
// million jobs a minute or so; there is no order by time, for which a caller keeps what it needs.
//
// Workers are asked which jobs run only if the filter has Running without Ready, or Ready without
// Running. Otherwise a job that runs is shown as Ready, without its Worker. What became of earlier
// runs, such as their failures, is in no Info here: [Client.Get] has it.
//
// It returns [ErrInvalid] for a filter that breaks a rule.
func (c *Client) Jobs(ctx context.Context, f JobFilter) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		filter, err := f.checked()
		var runs runningJobs
		if err == nil && f.asksWorkers() {
			runs, err = c.runningIn(ctx, filter)
		}
		if err != nil {
			yield(Info{}, publicError(err))
			return
		}
		for m, err := range c.store.Jobs(ctx, filter) {
			if err != nil {
				yield(Info{}, publicError(err))
				return
			}
			info := Info{Ref: refOf(&m.Record)}
			info.addWaiting(m)
			runs.mark(&info)
			if f.asksWorkers() && !slices.Contains(f.States, info.State) {
				continue
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// checked returns f as the queue has it, or a [*job.InvalidError].
func (f *JobFilter) checked() (queue.JobFilter, error) {
	name := f.Queue
	if name == "" {
		name = job.DefaultQueue
	}
	q, err := job.QueueName(name)
	if err == nil && f.Type != "" {
		err = job.CheckType(f.Type)
	}
	filter := queue.JobFilter{Queue: q, Type: f.Type, DueBy: f.DueBy}
	for _, s := range f.States {
		switch s {
		case Scheduled, Retrying, Ready, Running:
			filter.States = append(filter.States, job.State(s))
		case Succeeded, Dead, Cancelled:
			return filter, job.Invalid("state", s, "of a job that has ended: want scheduled, retrying, ready or running")
		default:
			return filter, job.Invalid("state", s, "want scheduled, retrying, ready or running")
		}
	}
	return filter, err
}

// asksWorkers reports whether running jobs and those that wait for a worker are told apart.
func (f *JobFilter) asksWorkers() bool {
	return slices.Contains(f.States, Running) != slices.Contains(f.States, Ready)
}

// runningJobs are the workers that run jobs, by their type and id.
type runningJobs map[[2]string]string

func (c *Client) runningIn(ctx context.Context, f queue.JobFilter) (runningJobs, error) {
	found, err := c.registry.Running(ctx, f.Type)
	runs := make(runningJobs, len(found))
	for _, r := range found {
		if r.Queue == f.Queue.String() {
			runs[[2]string{r.Type, r.ID}] = r.Node
		}
	}
	return runs, err
}

// mark makes a job that is ready one that runs, if a worker says so.
func (r runningJobs) mark(i *Info) {
	if worker, runs := r[[2]string{i.Type, i.ID}]; runs && i.State == Ready {
		i.State, i.Worker = Running, worker
	}
}
