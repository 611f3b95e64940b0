package arrival

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/workflow"
)

// groupFaults looks for what is missing of a group: somebody who publishes it, jobs of which there is no message, and ends
// that are not counted. It reads each shard that is not full, and the messages of the jobs that are pending in it.
func (s *Store) groupFaults(ctx context.Context, v *View, step int) (found []Fault, err error) {
	name := v.Steps[step].Name
	released, err := s.groupReleased(ctx, v, step)
	if err != nil {
		return nil, err
	}
	if !released {
		found = append(found, Fault{Step: name, Kind: NotReleased})
	}
	root, _, err := s.root(ctx, v.Run, name)
	switch {
	case errors.Is(err, errGone), err == nil && root.Gen != v.Tally.Gen:
		return found, nil
	case err != nil:
		return nil, err
	}
	uncounted := false
	if _, ended := root.End(workflow.ShardJobs, v.Steps[step].Tolerates()); ended {
		uncounted = true
	}
	for k := range v.Steps[step].Layout().Shards() {
		if root.IsFull(k) {
			continue
		}
		faults, full, err := s.shardFaults(ctx, v, step, k, root.Published)
		if err != nil {
			return nil, err
		}
		found, uncounted = append(found, faults...), uncounted || full
	}
	if uncounted {
		found = append(found, Fault{Step: name, Kind: NotCounted})
	}
	return found, nil
}

// shardFaults looks at the jobs of a shard that were published and are pending. It reports whether none of all is pending.
func (s *Store) shardFaults(ctx context.Context, v *View, step, k, published int) (found []Fault, full bool, err error) {
	of := &v.Steps[step]
	m := workflow.Member{ID: v.ID, Run: v.Run, Gen: v.Tally.Gen, Step: step, Job: -1}
	shard, _, err := s.readShard(ctx, m, of.Name, k)
	if err != nil {
		return nil, false, err
	}
	full = shard.Gen == m.Gen && shard.Counts().Ended() >= of.Layout().Size(k)
	var pending []*job.Record
	var numbers []int
	for at := range of.Layout().Size(k) {
		if m.Job = k*workflow.ShardJobs + at; m.Job >= published {
			break
		}
		if shard.Gen != m.Gen || shard.At(at) == workflow.Pending {
			pending, numbers = append(pending, jobOfGroup(v.Spec, m, of.Name, nil)), append(numbers, m.Job)
		}
	}
	traces, err := s.queues.Traces(ctx, pending)
	if err != nil {
		return nil, false, err
	}
	for i, t := range traces {
		switch {
		case t.There:
		case t.End != nil:
			found = append(found, Fault{Step: of.Name, Kind: NotCounted, Job: numbers[i] + 1})
		default:
			found = append(found, Fault{Step: of.Name, Kind: NotReleased, Job: numbers[i] + 1})
		}
	}
	return found, full, nil
}

// repairsAtOnce is how many ends of a group's jobs are counted at once: those that wait for a shard are written together.
const repairsAtOnce = 64

// repairGroup does what is missing of a group.
func (s *Store) repairGroup(ctx context.Context, v *View, step int, faults []Fault) error {
	of := &v.Steps[step]
	m := workflow.Member{ID: v.ID, Run: v.Run, Gen: v.Tally.Gen, Step: step, Job: -1}
	lost := make(map[int]bool)
	var ended []*job.Record
	for _, f := range faults {
		switch {
		case f.Step != of.Name || f.Job == 0:
		case f.Kind == NotReleased:
			lost[f.Job-1] = true
		default:
			m.Job = f.Job - 1
			ended = append(ended, jobOfGroup(v.Spec, m, of.Name, nil))
		}
	}
	traces, err := s.queues.Traces(ctx, ended)
	if err != nil {
		return err
	}
	counting, within := errgroup.WithContext(ctx)
	counting.SetLimit(repairsAtOnce)
	for i, t := range traces {
		if t.End != nil {
			counting.Go(func() error {
				return s.Arrive(within, queue.StepEnd{Record: ended[i], Kind: t.End.Kind, Result: t.End.Output()})
			})
		}
	}
	if err := counting.Wait(); err != nil {
		return err
	}
	m.Job = -1
	root, _, err := s.root(ctx, m.Run, of.Name)
	if errors.Is(err, errGone) || err == nil && root.Gen != m.Gen {
		return nil // whoever publishes it begins with that
	}
	if err != nil {
		return err
	}
	f := &filler{Store: s, graph: v.Graph, member: m, step: of, again: true}
	if err := f.publishLost(ctx, lost); err != nil {
		return err
	}
	return f.countShards(ctx, &root)
}
