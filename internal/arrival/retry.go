package arrival

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// Retry has the failed part of a workflow run again, which has ended and has not succeeded. It stores the
// workflow's own job in the next generation, which does the rest, however often it is interrupted. It returns
// the life of that job, or an [*workflow.InvalidError].
func (s *Store) Retry(ctx context.Context, v *View) (life string, err error) {
	if of := v.Parent; of != nil {
		return "", &workflow.InvalidError{What: "workflow", Name: v.ID, Rule: "is a step of workflow " + of.ID + ": retry that"}
	}
	if _, ok := v.Retry(&v.Tally); !ok {
		rule := "has not ended: cancel it first, or wait"
		if v.Phase(&v.Tally) == workflow.PhaseSucceeded {
			rule = "has succeeded, so there is nothing to retry: start it again"
		}
		return "", &workflow.InvalidError{What: "workflow", Name: v.ID, Rule: rule}
	}
	if o, ended := v.Outcome(&v.Tally); ended { // whoever ended the last step may be about to do this
		if err := s.end(ctx, v.Spec, v.Tally.Gen, o); err != nil {
			return "", err
		}
	}
	dead, err := s.deadOf(ctx, v)
	if err != nil {
		return "", err
	}
	next := *v.Spec
	next.Gen = v.Tally.Gen + 1
	e, err := driverOf(&next)
	if err != nil {
		return "", err
	}
	old := workflow.Life(v.Run, v.Tally.Gen)
	if err := s.enqueueInPlace(ctx, e, func(life string) (bool, error) { return life == old, nil }); err != nil {
		return "", err
	}
	for _, seq := range dead {
		if err := s.queues.RemoveDead(ctx, seq); err != nil {
			return "", err
		}
	}
	return e.Record.Life, nil
}

// Requeue implements [queue.Steps]: the workflow may have been retried since.
func (s *Store) Requeue(ctx context.Context, id, died string) (life string, err error) {
	v, err := s.Look(ctx, id, died)
	if errors.Is(err, queue.ErrNotFound) {
		return "", &job.InvalidError{What: "workflow", Name: id, Rule: "is not known any more: start it again"}
	}
	if err != nil {
		return "", err
	}
	if _, gen, ok := workflow.ParseLife(died); ok && gen < v.Tally.Gen {
		return workflow.Life(v.Run, v.Tally.Gen), nil
	}
	life, err = s.Retry(ctx, v)
	if invalid, ok := errors.AsType[*workflow.InvalidError](err); ok {
		err = (*job.InvalidError)(invalid)
	}
	return life, err
}

// deadOf returns the records of the workflow's death and of those of its steps, by their sequence.
func (s *Store) deadOf(ctx context.Context, v *View) (seqs []uint64, err error) {
	type died struct {
		queue.DeadFilter
		life string // how theirs begin
	}
	all := []died{{queue.DeadFilter{Queue: v.Queue, Type: job.WorkflowType, ID: v.ID}, v.Run + "-"}}
	for i := range v.Steps {
		if v.Tally.At(i) != workflow.Failed {
			continue
		}
		r := v.Job(i)
		of := died{queue.DeadFilter{Queue: r.Queue, Type: r.Type, ID: r.ID}, v.Run + "-"}
		if v.Steps[i].Kind == workflow.KindGroup { // whose jobs have ids of their own
			of.ID, of.life = "", workflow.StepLife(v.Run, v.Tally.Gen, i)+"-"
			fill := workflow.FillID(v.ID, v.Run, v.Tally.Gen, i)
			all = append(all, died{queue.DeadFilter{Queue: v.Queue, Type: job.WorkflowType, ID: fill}, v.Run + "-"})
		}
		all = append(all, of)
	}
	for _, of := range all {
		for d, err := range s.queues.Dead(ctx, of.DeadFilter) {
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(d.Life, of.life) {
				seqs = append(seqs, d.Seq)
			}
		}
	}
	for i := range v.Steps {
		if v.Steps[i].Kind != workflow.KindWorkflow || v.Tally.At(i) != workflow.Failed {
			continue
		}
		r := v.Job(i)
		child, err := s.Look(ctx, r.ID, r.Life)
		if errors.Is(err, queue.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		of, err := s.deadOf(ctx, child)
		if err != nil {
			return nil, err
		}
		seqs = append(seqs, of...)
	}
	return seqs, nil
}

// generation reads how far the run of a driver has come, and begins its generation if that is a retry which
// has not begun. The graph is stored first, then the tally, each on the condition that nobody else did so.
func (s *Store) generation(ctx context.Context, id string, d driver, now time.Time) (*workflow.Graph, workflow.Tally, error) {
	for conflicts := (stream.Conflicts{}); ; {
		g, t, seq, err := s.look(ctx, id, d.Run)
		if err != nil || t.Gen >= d.Gen {
			return g, t, err
		}
		next, ok := g.Retry(&t)
		if g.Parent != nil {
			_, ended := g.Outcome(&t)
			switch {
			case !ended:
				return nil, t, &job.LaterError{Err: errors.New("what is to be retried has not ended"), Delay: time.Second}
			case !ok: // it has succeeded, and was undone with the step that it is
				next, ok = g.Restart(d.Gen), true
			}
			next.Gen = d.Gen
		}
		if !ok || next.Gen != d.Gen {
			return nil, t, &job.PermanentError{Err: fmt.Errorf("the workflow is %s in generation %d: it cannot be retried as generation %d", g.Phase(&t), t.Gen, d.Gen)}
		}
		err = s.storeRetried(ctx, id, d, now)
		if err == nil {
			err = s.write(ctx, d.Run, &next, seq)
		}
		if errors.Is(err, stream.ErrConflict) {
			err = conflicts.Wait(ctx)
		}
		if err != nil {
			return nil, t, err
		}
	}
}

// storeRetried stores the graph with the deadline of its next generation, unless somebody did.
func (s *Store) storeRetried(ctx context.Context, id string, d driver, now time.Time) error {
	spec, seq, err := s.spec(ctx, id)
	if err != nil || spec.Run != d.Run || spec.Gen >= d.Gen {
		return err
	}
	spec.Gen, spec.Deadline = d.Gen, spec.DeadlineFrom(now)
	data, err := spec.Encode()
	if err != nil {
		return err
	}
	return s.publish(ctx, s.specSubject(id), data, seq)
}
