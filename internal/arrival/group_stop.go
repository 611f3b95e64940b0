package arrival

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/workflow"
)

// stops reports whether the jobs of a step are to be cancelled, with its workflow or since another one failed.
func stops(g *workflow.Graph, t *workflow.Tally, step int) bool {
	return slices.Contains(g.Stops(t), step)
}

// dropReason is why the jobs of a group that has ended early do not run.
const dropReason = "more jobs of its group failed than are tolerated"

// dropLater has a job of its own cancel what is left of a group that has failed early.
func (s *Store) dropLater(ctx context.Context, spec *workflow.Spec, m workflow.Member) error {
	r, err := groupRecord(spec, m.Gen, m.Step, workflow.DropID(spec.ID, spec.Run, m.Gen, m.Step), "drop-"+uuid.NewString())
	if err != nil {
		return err
	}
	return s.enqueueChore(ctx, r, 0)
}

// fillEnded has a group fail whose jobs nobody publishes any more, since the job that does is dead or was cancelled. What
// it has published is cancelled.
func (s *Store) fillEnded(ctx context.Context, r *job.Record, end job.EventKind) error {
	id, name, inner := workflow.Split(r.ID)
	run, gen, step, fills := workflow.ParseFill(name)
	if !inner || !fills || r.Type != job.WorkflowType || end == job.EventSucceeded {
		return nil
	}
	m := workflow.Member{ID: id, Run: run, Gen: gen, Step: step, Job: -1}
	g, t, _, err := s.lookOf(ctx, m)
	if err != nil || g == nil || g.Steps[step].Kind != workflow.KindGroup || t.At(step) == workflow.Succeeded {
		return err
	}
	s.log.ErrorContext(ctx, "a group fails, since its jobs cannot be published",
		slog.String("id", workflow.JobID(id, g.Steps[step].Name)), slog.String("outcome", string(end)))
	if err := s.count(ctx, m, stepEnd{state: workflow.Failed}); err != nil {
		return err
	}
	return s.dropLater(ctx, g.Spec, m)
}

// A Publishing says what becomes of the jobs of a group that are not in their queue yet.
type Publishing struct {
	There bool   // somebody publishes them, or is about to
	Ended string // why nobody does any more, empty if all were that were to be
}

// PublishingOf looks for the job that publishes those of a group.
func (s *Store) PublishingOf(ctx context.Context, v *View, step int) (Publishing, error) {
	r, err := fillRecord(v.Spec, v.Tally.Gen, step)
	if err != nil {
		return Publishing{}, err
	}
	there, end, err := s.trace(ctx, r)
	p := Publishing{There: there}
	if end != nil && end.Kind != job.EventSucceeded {
		p.Ended = cmp.Or(end.Error, end.Reason, string(end.Kind))
	}
	return p, err
}

// drop cancels what is left of a group that has failed early.
func (s *Store) drop(ctx context.Context, r *job.Record) error {
	g, _, m, err := s.groupOf(ctx, r)
	if err != nil || g == nil {
		return err
	}
	return s.stopGroup(ctx, g.Spec, m.Gen, m.Step, dropReason)
}

// stopGroup cancels the jobs of a group that have not ended. It may be repeated.
func (s *Store) stopGroup(ctx context.Context, spec *workflow.Spec, gen, step int, reason string) error {
	r := stepRecord(spec, gen, step)
	name, err := job.QueueName(r.Queue)
	if err != nil {
		return err
	}
	o := &job.Order{
		Group: workflow.Member{ID: spec.ID, Run: spec.Run, Gen: gen, Step: step, Job: -1}.Group(),
		Grace: job.DefaultGrace, Reason: reason, By: "workflow " + spec.ID, At: time.Now().UTC(),
	}
	for _, err := range s.queues.CancelMany(ctx, queue.JobFilter{Queue: name, Type: r.Type}, o, s.orders) {
		if err != nil {
			return err
		}
	}
	return nil
}
