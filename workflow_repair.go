package millhand

import (
	"context"

	"github.com/millhand/millhand/internal/arrival"
)

// A WorkflowFault is something that a workflow needs to go on, and that nobody is going to do. A cluster leaves
// none. A single broker that is killed may: it can forget the last write to a workflow and remember the
// acknowledgement that followed.
type WorkflowFault struct {
	Step  string `json:"step,omitempty"` // empty: it is about the workflow's own job
	Fault string `json:"fault"`          // not_counted, not_released, not_ended or no_job
	Jobs  int    `json:"jobs,omitempty"` // of so many jobs of a group; 0: it is about none of them
}

// CheckWorkflow looks for what keeps a workflow from going on: steps that have ended and are not counted, or that
// may run and have no job. It looks twice, a second apart, since whoever does it may be about to. It costs two reads
// for each step that is under way, and for a group one for each 4,096 jobs and some for each thousand that are pending.
func (c *Client) CheckWorkflow(ctx context.Context, ref Ref) ([]WorkflowFault, error) {
	return c.faults(ctx, ref, c.flows.Faults)
}

// RepairWorkflow does what [Client.CheckWorkflow] finds missing, and returns what that was: it counts the ends of
// which there are events, releases steps, and ends the workflow. A step whose end left no event, as of a type with
// SilentSuccess, runs again. A job whose message was stored within the last 30 seconds and removed since is not
// stored again: the broker takes it for a repetition, so call it later.
func (c *Client) RepairWorkflow(ctx context.Context, ref Ref) ([]WorkflowFault, error) {
	return c.faults(ctx, ref, c.flows.Repair)
}

func (c *Client) faults(ctx context.Context, ref Ref, find func(context.Context, *arrival.View) ([]arrival.Fault, error)) ([]WorkflowFault, error) {
	ref, _, err := ref.checked()
	if err != nil {
		return nil, err
	}
	view, err := c.flows.Look(ctx, ref.ID, ref.Life)
	if err != nil {
		return nil, workflowError(err)
	}
	found, err := find(ctx, view)
	faults := make([]WorkflowFault, 0, len(found))
	jobs := make(map[WorkflowFault]int) // where those are that tell of jobs
	for _, f := range found {
		fault := WorkflowFault{Step: f.Step, Fault: string(f.Kind)}
		at, more := jobs[fault]
		switch {
		case f.Job == 0:
			faults = append(faults, fault)
		case more:
			faults[at].Jobs++
		default:
			jobs[fault] = len(faults)
			fault.Jobs = 1
			faults = append(faults, fault)
		}
	}
	return faults, workflowError(err)
}
