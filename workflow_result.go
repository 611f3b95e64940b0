package millhand

import (
	"context"
	"errors"
	"fmt"

	"github.com/millhand/millhand/internal/arrival"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/workflow"
)

// A NoResultError says that a step of a workflow, or a job of a group, has not succeeded, so that it has no
// result.
type NoResultError struct {
	Step  string
	Job   int       // its number in the group, from 0; -1: the step is no group
	State StepState // [StepHeld] for one that has not ended
}

func (e *NoResultError) Error() string {
	if e.Job >= 0 {
		return fmt.Sprintf("millhand: job %d of group %s has no result: it is %s", e.Job, e.Step, e.State)
	}
	return fmt.Sprintf("millhand: step %s has no result: it is %s", e.Step, e.State)
}

// StepResult returns what another step of the workflow of job has returned, as JSON of type R: nothing is the
// zero value. Of a step made with [Workflow.Signal] it is what it was signalled with. Results of steps are kept as
// long as the workflow: seven days from its end.
//
// It returns a [*NoResultError] if the step has not succeeded, and an [*InvalidError] if there is none of the name or
// job is no step of a workflow.
func StepResult[R, T any](ctx context.Context, j *Job[T], step string) (result R, err error) {
	flows, err := flowsOf(j)
	if err != nil {
		return result, err
	}
	data, err := flows.Result(ctx, &j.held.Record, step)
	if err != nil {
		return result, workflowError(err)
	}
	return stepResult[R](step, data)
}

// stepResult decodes what a job of a workflow has returned.
func stepResult[R any](id string, data []byte) (R, error) {
	var e queue.Event
	e.SetResult(data)
	return resultOf[R](&Info{Ref: Ref{ID: id}, Returned: returnedOf(&e)})
}

// flowsOf returns the workflows that a job in hand may be a step of.
func flowsOf[T any](j *Job[T]) (*arrival.Store, error) {
	if j.held == nil || j.held.Workflow == "" {
		return nil, publicError(&job.InvalidError{What: "job", Name: j.ID, Rule: "is no step of a workflow"})
	}
	flows, ok := j.held.Steps().(*arrival.Store)
	if !ok {
		return nil, errors.New("millhand: the worker counts no steps of workflows")
	}
	return flows, nil
}

// stepStateOf is that of a step which has ended, or is held.
func stepStateOf(s workflow.State) StepState {
	switch s {
	case workflow.Succeeded:
		return StepSucceeded
	case workflow.Failed:
		return StepFailed
	case workflow.Skipped:
		return StepSkipped
	case workflow.Pending:
	}
	return StepHeld
}
