package arrival

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// keepResult stores what a step has returned, for those that come after it. It is stored before the step is
// counted, so that nobody runs who could miss it.
func (s *Store) keepResult(ctx context.Context, g *workflow.Graph, m workflow.Member, result []byte) error {
	step := &g.Steps[m.Step]
	if step.Kind == workflow.KindGroup || step.Kind == workflow.KindWorkflow {
		return nil // they return nothing
	}
	return s.storeResult(ctx, s.outSubject(m.Run, step.Name), m, result)
}

// storeResult replaces what an earlier generation has returned, if it has: that was undone, or not counted. Nothing is
// stored of a later one also if it is empty: what is there, or comes late, would be read in its place.
func (s *Store) storeResult(ctx context.Context, subject string, m workflow.Member, result []byte) error {
	if len(result) == 0 && m.Gen == 1 {
		return nil
	}
	seq := uint64(0)
	for conflicts := (stream.Conflicts{}); ; {
		msg := &nats.Msg{Subject: subject, Header: nats.Header{job.HeaderWorkflow: {m.String()}}, Data: result}
		_, err := s.publishMsg(ctx, msg, seq)
		if !errors.Is(err, stream.ErrConflict) {
			return err
		}
		if err := conflicts.Wait(ctx); err != nil {
			return err
		}
		there, err := s.client.Last(ctx, s.stream(), subject)
		switch {
		case errors.Is(err, stream.ErrNotFound):
			seq = 0
			continue
		case err != nil:
			return err
		}
		by, err := workflow.ParseMember(there.Header.Get(job.HeaderWorkflow))
		if err == nil && by.Gen >= m.Gen {
			return nil
		}
		seq = there.Seq
	}
}

// A NoResultError says that a step has not succeeded, so that it has no result.
type NoResultError struct {
	Step  string
	Job   int // of a group, from 0; -1: of no group
	State workflow.State
}

func (e *NoResultError) Error() string {
	if e.Job >= 0 {
		return fmt.Sprintf("job %d of step %s has no result: it is %s", e.Job, e.Step, e.State)
	}
	return fmt.Sprintf("step %s has no result: it is %s", e.Step, e.State)
}

// Result returns what a step of the workflow of a job has returned, nil for nothing. It returns a
// [*NoResultError] if the step has not succeeded, and a [*workflow.InvalidError] if there is none of its name.
func (s *Store) Result(ctx context.Context, r *job.Record, step string) ([]byte, error) {
	m, g, t, err := s.sibling(ctx, r, step)
	if err != nil {
		return nil, err
	}
	if state := t.At(m.Step); state != workflow.Succeeded {
		return nil, &NoResultError{Step: step, Job: -1, State: state}
	}
	msg, err := s.client.Last(ctx, s.stream(), s.outSubject(m.Run, g.Steps[m.Step].Name))
	if errors.Is(err, stream.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return msg.Data, nil
}

// sibling returns the step of a name in the workflow of a job, and how far that has come.
func (s *Store) sibling(ctx context.Context, r *job.Record, step string) (workflow.Member, *workflow.Graph, *workflow.Tally, error) {
	m, is, err := s.member(ctx, r)
	if err == nil && !is {
		err = &workflow.InvalidError{What: "job", Name: r.ID, Rule: "is no step of a workflow"}
	}
	if err != nil {
		return m, nil, nil, err
	}
	g, t, _, err := s.look(ctx, m.ID, m.Run)
	if err != nil {
		return m, nil, nil, unknown(err)
	}
	i := g.Number(step)
	if i < 0 {
		return m, nil, nil, &workflow.InvalidError{What: "workflow", Name: m.ID, Rule: "has no step " + step}
	}
	return workflow.Member{ID: m.ID, Run: m.Run, Gen: t.Gen, Step: i, Job: -1}, g, &t, nil
}
