package arrival

import (
	"context"
	"errors"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// errOver says that a step which would add others has ended, by another run of its job.
var errOver = errors.New("the step has ended meanwhile, so it adds no others")

// Grow adds the steps that added returns to the workflow of a job, which is a step of it and runs. added is given
// the graph as it is and the number of that step. It is called again if somebody else adds some at the same
// time, or ends a step.
//
// The graph is stored first, then the tally that has its steps, on the condition that the step is still pending.
// Who dies in between has the job run again, which finds the steps in the graph.
func (s *Store) Grow(ctx context.Context, r *job.Record, added func(*workflow.Spec, int) ([]workflow.Step, error)) error {
	m, err := workflow.ParseMember(r.Workflow)
	if err != nil {
		return err
	}
	for conflicts := (stream.Conflicts{}); ; {
		err := s.grow(ctx, m, added)
		if !errors.Is(err, stream.ErrConflict) {
			return err
		}
		if err := conflicts.Wait(ctx); err != nil {
			return err
		}
	}
}

func (s *Store) grow(ctx context.Context, m workflow.Member, added func(*workflow.Spec, int) ([]workflow.Step, error)) error {
	t, tallied, err := s.tally(ctx, m.Run)
	if errors.Is(err, errGone) || err == nil && (t.Gen != m.Gen || t.At(m.Step) != workflow.Pending) {
		return errOver
	}
	if err != nil {
		return err
	}
	spec, seq, err := s.spec(ctx, m.ID)
	if errors.Is(err, errGone) || err == nil && spec.Run != m.Run {
		return errOver
	}
	if err != nil {
		return err
	}
	steps, err := added(spec, m.Step)
	if err != nil {
		return err
	}
	next, first, err := spec.Grow(m.Step, steps)
	if err != nil {
		return err
	}
	if first {
		if err := s.prepareSteps(ctx, next, len(spec.Steps), ""); err != nil {
			return err
		}
		if err := s.storeItems(ctx, next.Run, next.Steps[len(spec.Steps):]); err != nil {
			return err
		}
		data, err := next.Encode()
		if err != nil {
			return err
		}
		if err := s.publish(ctx, s.specSubject(m.ID), data, seq); err != nil {
			return err
		}
	}
	g, err := workflow.NewGraph(next)
	if err != nil {
		return err
	}
	if g.Knows(&t) && t.N == len(g.Steps) {
		return nil
	}
	extended := g.Extend(&t)
	return s.write(ctx, m.Run, &extended, tallied)
}
