package arrival

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/workflow"
)

// storesAtOnce bounds the results that are stored at the same time.
const storesAtOnce = 128

// Together implements [queue.Steps]: the jobs of a group have their bits in few documents.
func (s *Store) Together(r *job.Record) bool {
	return r.Type != job.WorkflowType && workflow.IsOfGroup(r.Workflow)
}

// A shardEnds is the ends of jobs of one shard.
type shardEnds struct {
	graph *workflow.Graph
	of    workflow.Member // any of its jobs
	ends  []heldEnd
	at    []int // where each is among those that arrive
}

// ArriveTogether implements [queue.Steps].
func (s *Store) ArriveTogether(ctx context.Context, ends []queue.StepEnd) []error {
	errs := make([]error, len(ends))
	members := make([]workflow.Member, len(ends))
	graphs := make([]*workflow.Graph, len(ends))
	var storing errgroup.Group
	storing.SetLimit(storesAtOnce)
	for i := range ends {
		m, err := workflow.ParseMember(ends[i].Record.Workflow)
		if err != nil {
			continue // what cannot be read is of no workflow
		}
		g, err := s.graphOf(ctx, m)
		if err != nil || g == nil {
			errs[i] = err
			continue
		}
		members[i], graphs[i] = m, g
		if keepsResult(&g.Steps[m.Step], m.Gen, ends[i].Result) {
			storing.Go(func() error {
				errs[i] = s.storeGroupResult(ctx, g, m, ends[i].Result)
				return nil
			})
		}
	}
	_ = storing.Wait() // each has its own error
	shards := make(map[shardKey]*shardEnds)
	for i, g := range graphs {
		if g == nil || errs[i] != nil {
			continue
		}
		key := keyOf(members[i])
		if shards[key] == nil {
			shards[key] = &shardEnds{graph: g, of: members[i]}
		}
		shards[key].add(i, members[i], ends[i].Held)
	}
	var counting sync.WaitGroup
	for _, sh := range shards {
		counting.Go(func() {
			w := s.shardWriter(sh.of)
			defer s.leaveShard(w)
			err := w.end(ctx, sh.graph, sh.ends...)
			for _, i := range sh.at {
				if errs[i] = err; err == nil && ends[i].Held != nil {
					errs[i] = ends[i].Held() // it may not be among those that were counted
				}
			}
		})
	}
	counting.Wait()
	return errs
}

func (e *shardEnds) add(i int, m workflow.Member, held func() error) {
	e.ends = append(e.ends, heldEnd{workflow.JobEnd{At: m.Job % workflow.ShardJobs, State: workflow.Succeeded}, held})
	e.at = append(e.at, i)
}
