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
// has ended, or whose workflow is gone, has ended before: so what is released twice runs once. It says how, for the
// case that there is no event: the job may be one of many, of which enough have failed, or have ended in silence.
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
	g, t, _, err := s.look(ctx, m.ID, m.Run)
	switch {
	case errors.Is(err, errGone):
		return overtaken(), nil
	case err != nil:
		return nil, err
	case t.Gen < m.Gen && m.Step < len(g.Steps) && g.Steps[m.Step].Kind == workflow.KindSignal: // of a retry that has not begun: it waits
		return nil, nil //nolint:nilnil // as above
	case t.Gen != m.Gen, m.Step >= len(g.Steps):
		return overtaken(), nil
	case t.At(m.Step) != workflow.Pending:
		return endedAs(t.At(m.Step)), nil
	}
	return nil, nil //nolint:nilnil // as above
}

// overtaken is the end of a job that is of no workflow any more.
func overtaken() *queue.Outcome {
	return &queue.Outcome{
		Ended: true, Kind: job.EventCancelled, Reason: job.ReasonSuperseded,
		Error: "its workflow was retried, or nothing is known of it any more",
	}
}

// endedAs is the end of a job of which no event may say that it was counted.
func endedAs(state workflow.State) *queue.Outcome {
	if state == workflow.Succeeded {
		return &queue.Outcome{Ended: true, Kind: job.EventSucceeded}
	}
	return &queue.Outcome{
		Ended: true, Kind: job.EventCancelled, Reason: job.ReasonSuperseded, Error: "its workflow has it as " + state.String() + " by now",
	}
}

// insteadInGroup goes by what was known of the workflow a moment ago: a job of a group that runs too late is
// counted once all the same. One that may have been published twice is looked for where it is counted.
func (s *Store) insteadInGroup(ctx context.Context, m workflow.Member, r *job.Record) (*queue.Outcome, error) {
	g, t, err := s.lookLately(ctx, m)
	switch {
	case err != nil:
		return nil, err
	case g == nil:
		return overtaken(), nil
	}
	if m.Again || r.HasStarted() {
		shard, _, err := s.shard(ctx, m)
		if err != nil {
			return nil, err
		}
		switch state := shard.At(m.Job % workflow.ShardJobs); {
		case shard.Gen > m.Gen:
			return overtaken(), nil
		case shard.Gen == m.Gen && state != workflow.Pending:
			return endedAs(state), nil
		}
	}
	cancelled := queue.Outcome{Kind: job.EventCancelled, Reason: job.ReasonRequested}
	switch {
	case t.At(m.Step) != workflow.Pending:
		cancelled.Ended, cancelled.Error = true, dropReason
		return &cancelled, nil
	case stops(g, t, m.Step):
		cancelled.Error = stopReason(t)
		return &cancelled, nil
	}
	return nil, nil //nolint:nilnil // as above
}

// A looked is how far a run had come a moment ago.
type looked struct {
	turn chan struct{} // capacity 1, held by who reads or writes the rest: many jobs start at once, and one of them looks

	graph *workflow.Graph
	tally workflow.Tally
	at    time.Time
}

// knows reports whether the step of a job was there, in its generation or a later one.
func (l *looked) knows(m workflow.Member) bool {
	return l.graph != nil && l.tally.Gen >= m.Gen && m.Step < len(l.graph.Steps)
}

// lookLately is lookOf as of a second ago at most.
func (s *Store) lookLately(ctx context.Context, m workflow.Member) (*workflow.Graph, *workflow.Tally, error) {
	l := s.latelyOf(m.Run)
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	defer func() { <-l.turn }()
	if at := time.Now(); at.Sub(l.at) > time.Second || !l.knows(m) { // else it may have been added, or retried, since
		g, t, _, err := s.look(ctx, m.ID, m.Run)
		if err != nil && !errors.Is(err, errGone) {
			return nil, nil, err
		}
		if err != nil {
			g = nil
		}
		l.graph, l.tally, l.at = g, t, at
	}
	if !l.knows(m) || l.tally.Gen != m.Gen {
		return nil, nil, nil
	}
	t := l.tally
	return l.graph, &t, nil
}

func (s *Store) latelyOf(run string) *looked {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lately[run]
	if l == nil {
		if len(s.lately) >= maxGraphs {
			clear(s.lately)
		}
		l = &looked{turn: make(chan struct{}, 1)}
		s.lately[run] = l
	}
	return l
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
