package arrival

import (
	"context"
	"errors"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// Instead returns how a job that is about to start ends without a run; nil if it is to run. One whose step
// has ended, or whose workflow is gone, has ended before: so what is released twice runs once.
func (s *Store) Instead(ctx context.Context, r *job.Record) (*queue.Outcome, error) {
	if r.Workflow == "" {
		return nil, nil //nolint:nilnil // nothing is in the place of its run
	}
	m, is, err := s.member(ctx, r)
	if err != nil || !is {
		return nil, err
	}
	if m.Job >= 0 {
		return s.insteadInGroup(ctx, m, r)
	}
	g, t, _, err := s.lookOf(ctx, m)
	if err != nil {
		return nil, err
	}
	if g == nil || t.At(m.Step) != workflow.Pending {
		return &queue.Outcome{Ended: true}, nil
	}
	return nil, nil //nolint:nilnil // as above
}

// insteadInGroup goes by what was known of the workflow a moment ago: a job of a group that runs too late is
// counted once all the same. One that may have been published twice is looked for where it is counted.
func (s *Store) insteadInGroup(ctx context.Context, m workflow.Member, r *job.Record) (*queue.Outcome, error) {
	g, t, err := s.lookLately(ctx, m)
	switch {
	case err != nil:
		return nil, err
	case g == nil || t.At(m.Step) != workflow.Pending:
		return &queue.Outcome{Ended: true}, nil
	case stops(g, t, m.Step):
		return &queue.Outcome{Kind: job.EventCancelled, Reason: job.ReasonRequested, Error: stopReason(t)}, nil
	case !m.Again && !r.HasStarted():
		return nil, nil //nolint:nilnil // nothing is in the place of its run
	}
	shard, _, err := s.shard(ctx, m)
	if err != nil {
		return nil, err
	}
	if shard.Gen > m.Gen || shard.Gen == m.Gen && shard.At(m.Job%workflow.ShardJobs) != workflow.Pending {
		return &queue.Outcome{Ended: true}, nil
	}
	return nil, nil //nolint:nilnil // as above
}

// A looked is how far a run had come a moment ago.
type looked struct {
	graph *workflow.Graph
	tally workflow.Tally
	at    time.Time
}

// lookLately is lookOf as of a second ago at most.
func (s *Store) lookLately(ctx context.Context, m workflow.Member) (*workflow.Graph, *workflow.Tally, error) {
	s.mu.Lock()
	l, known := s.lately[m.Run]
	s.mu.Unlock()
	if !known || time.Since(l.at) > time.Second {
		at := time.Now()
		g, t, _, err := s.look(ctx, m.ID, m.Run)
		if err != nil && !errors.Is(err, errGone) {
			return nil, nil, err
		}
		if err != nil {
			g = nil
		}
		l = looked{g, t, at}
		s.mu.Lock()
		if len(s.lately) >= maxGraphs {
			clear(s.lately)
		}
		s.lately[m.Run] = l
		s.mu.Unlock()
	}
	if l.graph == nil || l.tally.Gen != m.Gen || m.Step >= len(l.graph.Steps) {
		return nil, nil, nil
	}
	return l.graph, &l.tally, nil
}

// graphOf returns the graph of the workflow of a job of a group, nil if that is gone. Steps never change.
func (s *Store) graphOf(ctx context.Context, m workflow.Member) (*workflow.Graph, error) {
	s.mu.Lock()
	g := s.graphs[m.Run]
	s.mu.Unlock()
	if g == nil || m.Step >= len(g.Steps) {
		var err error
		if g, err = s.readGraph(ctx, m.ID, m.Run); errors.Is(err, errGone) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	if m.Step >= len(g.Steps) || g.Steps[m.Step].Kind != workflow.KindGroup || m.Job >= g.Steps[m.Step].Jobs {
		return nil, nil
	}
	return g, nil
}

// document reads one that belongs to a group, nil if there is none.
func (s *Store) document(ctx context.Context, subject string) (*stream.Message, error) {
	m, err := s.client.Last(ctx, s.stream(), subject)
	if errors.Is(err, stream.ErrNotFound) {
		return nil, nil //nolint:nilnil // no document is an answer
	}
	return m, err
}
