package arrival

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// A workflow that is a step of another is a workflow, whose own job is the job of that step: it begins when that
// is run first, and when it ends the step is counted as any other is.

// beginChild stores a workflow whose own job has been released as a step, unless that was done.
func (s *Store) beginChild(ctx context.Context, r *job.Record, m workflow.Member) error {
	var d driver
	if err := json.Unmarshal(r.Payload, &d); err != nil {
		return &job.MalformedError{Err: err}
	}
	if _, _, err := s.tally(ctx, d.Run); !errors.Is(err, errGone) {
		return err
	}
	g, _, _, err := s.lookOf(ctx, m)
	if err != nil {
		return err
	}
	if g == nil || g.Steps[m.Step].Kind != workflow.KindWorkflow {
		return &job.PermanentError{Err: errors.New("nothing is known of the workflow that it is a step of")}
	}
	spec := g.ChildOf(m.Gen, m.Step)
	name, err := job.QueueName(spec.Queue)
	if err != nil {
		return err
	}
	now, err := s.queues.Now(ctx, name)
	if err != nil {
		return err
	}
	spec.Created, spec.Deadline = now.UTC(), spec.DeadlineFrom(now)
	child, err := workflow.NewGraph(spec)
	if err != nil {
		return &job.PermanentError{Err: err}
	}
	data, err := spec.Encode()
	if err != nil {
		return &job.PermanentError{Err: err}
	}
	if err := s.storeSpec(ctx, spec, data, func(string) error { return s.stillPends(ctx, m) }); err != nil {
		return err
	}
	t := child.Restart(spec.Gen)
	if err := s.write(ctx, spec.Run, &t, 0); !errors.Is(err, stream.ErrConflict) {
		return err
	}
	return nil // somebody else began it
}

// stillPends refuses to begin a workflow whose step has ended: whoever was to may have been so slow that the id is
// another run's by now.
func (s *Store) stillPends(ctx context.Context, m workflow.Member) error {
	g, t, _, err := s.lookOf(ctx, m)
	if err == nil && (g == nil || t.At(m.Step) != workflow.Pending) {
		return &job.PermanentError{Err: errors.New("the step that it is has ended")}
	}
	return err
}

// cancelChild has a workflow cancelled that is a step, and reports false if it has not begun.
func (s *Store) cancelChild(ctx context.Context, spec *workflow.Spec, gen, step int) (begun bool, err error) {
	child := spec.ChildOf(gen, step)
	of, err := s.Generation(ctx, child.Run)
	if err != nil || of == 0 {
		return false, err
	}
	v := &View{Graph: &workflow.Graph{Spec: child}}
	return true, s.enqueueChore(ctx, v.CancelJob(workflow.Life(child.Run, gen)), 0)
}
