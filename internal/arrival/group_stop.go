package arrival

import (
	"context"
	"slices"
	"time"

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
