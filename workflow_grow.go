package millhand

import (
	"context"

	"github.com/millhand/millhand/internal/workflow"
)

// Grow adds steps to the workflow that job is a step of, while it runs: what is to be done is often known only
// once something has been looked at. add is given the workflow as it is, to which it adds, and the step that
// runs. What is added has to come after that one, however far. So none of it begins, and the workflow does not
// end, before the handler has returned; and if the job does not succeed, what comes [After] it is skipped.
//
// A job may run twice, and so may add, also since others add steps at the same time: it has to add the same
// ones, by name, and then they are added once. Steps that are there already cannot be changed.
//
// It returns an [*InvalidError] for what breaks a rule, as [Client.Start] does, and for a job that is no step of a
// workflow. Any other error is to be returned by the handler: the steps may be added or not.
func Grow[T any](ctx context.Context, j *Job[T], add func(w *Workflow, self *Step)) error {
	flows, err := flowsOf(j)
	if err != nil {
		return err
	}
	return workflowError(flows.Grow(ctx, &j.held.Record, func(s *workflow.Spec, by int) ([]workflow.Step, error) {
		w := NewWorkflow(s.Name, WorkflowConfig{Queue: s.Queue})
		for i := range s.Steps {
			w.steps = append(w.steps, &Step{workflow: w, number: i, spec: s.Steps[i]})
		}
		add(w, w.steps[by])
		return w.stepsFrom(len(s.Steps)), w.err
	}))
}

// Find returns the step of a name, nil if there is none: for [Grow], whose new steps may come after any other.
func (w *Workflow) Find(name string) *Step {
	for _, s := range w.steps {
		if s.spec.Name == name {
			return s
		}
	}
	return nil
}
