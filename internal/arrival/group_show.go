package arrival

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// A Progress is how far a group has come.
type Progress struct {
	workflow.Counts
	Published int // of its jobs; 0: it has not begun
}

// Progress returns how far the group of a step has come: one read, and one for each of its shards that is not
// full. One that has succeeded and was not run again in a retry is of the generation in which it did.
func (s *Store) Progress(ctx context.Context, v *View, step int) (Progress, error) {
	m := workflow.Member{ID: v.ID, Run: v.Run, Gen: v.Tally.Gen, Step: step, Job: -1}
	root, _, err := s.root(ctx, m.Run, v.Steps[step].Name)
	if errors.Is(err, errGone) || err == nil && root.Gen != m.Gen && v.Tally.At(step) != workflow.Succeeded {
		return Progress{}, nil
	}
	if err != nil {
		return Progress{}, err
	}
	p := Progress{Counts: root.Counts, Published: root.Published}
	for k := range v.Steps[step].Layout().Shards() {
		if root.IsFull(k) {
			continue
		}
		shard, _, err := s.readShard(ctx, m, v.Steps[step].Name, k)
		if err != nil {
			return p, err
		}
		c := shard.Counts()
		p.Succeeded, p.Failed, p.Skipped = p.Succeeded+c.Succeeded, p.Failed+c.Failed, p.Skipped+c.Skipped
	}
	return p, nil
}

// ErrResultGone says that the broker does not keep any more what a job of a group has returned.
var ErrResultGone = errors.New("the result is not kept any more")

// A GroupResult is what a job of a group has returned.
type GroupResult struct {
	Data []byte
	Err  error // [*NoResultError] or [ErrResultGone]
}

// Results yields what the jobs of a group have returned, in their order. An error is the last one.
func (s *Store) Results(ctx context.Context, r *job.Record, step string) iter.Seq2[GroupResult, error] {
	return func(yield func(GroupResult, error) bool) {
		m, g, _, err := s.sibling(ctx, r, step)
		if err == nil && g.Steps[m.Step].Kind != workflow.KindGroup {
			err = &workflow.InvalidError{What: "step", Name: step, Rule: "is no group"}
		}
		if err != nil {
			yield(GroupResult{}, err)
			return
		}
		for k := range g.Steps[m.Step].Layout().Shards() {
			results, err := s.shardResults(ctx, g, m, k)
			if err != nil {
				yield(GroupResult{}, err)
				return
			}
			for _, got := range results {
				if !yield(got, nil) {
					return
				}
			}
		}
	}
}

func (s *Store) shardResults(ctx context.Context, g *workflow.Graph, m workflow.Member, k int) ([]GroupResult, error) {
	step := &g.Steps[m.Step]
	shard, _, err := s.readShard(ctx, m, step.Name, k)
	if err != nil {
		return nil, err
	}
	results := make([]GroupResult, step.Layout().Size(k))
	var succeeded []int
	for at := range results {
		if state := shard.At(at); state != workflow.Succeeded {
			results[at].Err = &NoResultError{Step: step.Name, Job: k*workflow.ShardJobs + at, State: state}
			continue
		}
		succeeded = append(succeeded, at)
	}
	if step.KeepResults {
		return results, s.keptResults(ctx, m, step.Name, k, succeeded, results)
	}
	return results, s.eventResults(ctx, g, m, k, succeeded, results)
}

// keptResults reads those that are kept with the workflow. A job without one has returned nothing.
func (s *Store) keptResults(ctx context.Context, m workflow.Member, step string, k int, succeeded []int, results []GroupResult) error {
	prefix := s.outSubject(m.Run, step) + "."
	subjects := make([]string, len(succeeded))
	found := make(map[int]bool, len(succeeded))
	for i, at := range succeeded {
		subjects[i] = prefix + strconv.Itoa(k*workflow.ShardJobs+at)
	}
	for msg, err := range s.client.LastOfEach(ctx, s.stream(), subjects) {
		if err != nil {
			return fmt.Errorf("results of step %s: %w", step, err)
		}
		n, err := strconv.Atoi(strings.TrimPrefix(msg.Subject, prefix))
		if err != nil {
			return err
		}
		at := n - k*workflow.ShardJobs
		results[at].Data, found[at] = msg.Data, true
	}
	for i, at := range succeeded {
		if found[at] {
			continue
		}
		msg, err := s.client.Last(ctx, s.stream(), subjects[i]) // a replica may not have it yet
		if err != nil && !errors.Is(err, stream.ErrNotFound) {
			return err
		}
		if err == nil {
			results[at].Data = msg.Data
		}
	}
	return nil
}

// eventResults reads those that the ends of the jobs have, for as long as these are kept.
func (s *Store) eventResults(ctx context.Context, g *workflow.Graph, m workflow.Member, k int, succeeded []int, results []GroupResult) error {
	places := make([]job.Place, len(succeeded))
	for i, at := range succeeded {
		r := stepRecord(g.Spec, m.Gen, m.Step)
		r.ID = workflow.GroupJobID(m.ID, g.Steps[m.Step].Name, k*workflow.ShardJobs+at)
		var err error
		if places[i], err = r.Place(); err != nil {
			return err
		}
	}
	events, err := s.queues.LastEvents(ctx, places)
	if err != nil {
		return err
	}
	for i, at := range succeeded {
		e := events[places[i]]
		if e == nil || e.Kind != job.EventSucceeded || !strings.HasPrefix(e.Life, m.Run+"-") {
			results[at].Err = ErrResultGone
			continue
		}
		results[at].Data = e.Output()
	}
	return nil
}
