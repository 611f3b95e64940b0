package arrival

import (
	"context"
	"log/slog"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/workflow"
)

// maxTraces bounds the steps whose runs a run is linked to.
const maxTraces = 64

// A stepKey names a step in a generation of a run.
type stepKey struct {
	run       string
	gen, step int
}

func (s *Store) traceSubject(run, step string) string { return s.outSubject(run, step) + ".trace" }

// keepTrace notes by which run a step has ended, if that was traced. A workflow goes on without.
func (s *Store) keepTrace(ctx context.Context, m workflow.Member, step, traceparent string) {
	if traceparent == "" {
		return
	}
	msg := &nats.Msg{Subject: s.traceSubject(m.Run, step), Header: nats.Header{job.HeaderWorkflow: {m.String()}}, Data: []byte(traceparent)}
	if _, err := s.client.Publish(ctx, msg); err != nil {
		s.log.DebugContext(ctx, "the trace of a step is not kept", slog.String("id", workflow.JobID(m.ID, step)), slog.Any("err", err))
	}
}

// Traces returns the traceparents of the runs of the steps that a job's step comes directly after or undoes, of those that
// were traced. They have ended, so what is found is kept for the other jobs of a group.
func (s *Store) Traces(ctx context.Context, r *job.Record) ([]string, error) {
	m, is, err := s.member(ctx, r)
	if err != nil || !is {
		return nil, err
	}
	key := stepKey{m.Run, m.Gen, m.Step}
	s.mu.Lock()
	known, ok := s.traces[key]
	s.mu.Unlock()
	if ok {
		return known, nil
	}
	g, _, _, err := s.lookOf(ctx, m)
	if err != nil || g == nil {
		return nil, err
	}
	found, err := s.readTraces(ctx, m.Run, before(g, m.Step))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.traces) >= maxGraphs {
		clear(s.traces)
	}
	s.traces[key] = found
	return found, nil
}

// before are the names of the steps that one comes directly after, or undoes.
func before(g *workflow.Graph, step int) []string {
	if of := g.Steps[step].UndoOf; of != nil {
		return []string{g.Steps[*of].Name}
	}
	return g.Needs(step)
}

// readTraces reads the traceparents of steps, in their order.
func (s *Store) readTraces(ctx context.Context, run string, steps []string) (found []string, err error) {
	subjects := make([]string, 0, min(len(steps), maxTraces))
	for _, name := range steps[:min(len(steps), maxTraces)] {
		subjects = append(subjects, s.traceSubject(run, name))
	}
	of := make([]string, len(subjects))
	for msg, err := range s.client.LastOfEach(ctx, s.stream(), subjects) {
		if err != nil {
			return nil, err
		}
		if i := slices.Index(subjects, msg.Subject); i >= 0 {
			of[i] = string(msg.Data)
		}
	}
	return slices.DeleteFunc(of, func(t string) bool { return t == "" }), nil
}
