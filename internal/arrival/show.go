package arrival

import (
	"context"
	"errors"
	"iter"
	"math"
	"strings"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// A View is a workflow as it was seen.
type View struct {
	*workflow.Graph
	Tally workflow.Tally
}

// Look returns the workflow of an id or, with the life of its job, of one run. It returns
// [queue.ErrNotFound] if nothing is known of it.
func (s *Store) Look(ctx context.Context, id, life string) (*View, error) {
	run, _, _ := workflow.ParseLife(life)
	if run == "" {
		spec, _, err := s.spec(ctx, id)
		if err != nil {
			return nil, unknown(err)
		}
		run = spec.Run
	}
	g, t, _, err := s.look(ctx, id, run)
	if err != nil {
		return nil, unknown(err)
	}
	return &View{Graph: g, Tally: t}, nil
}

// All yields the workflows that are known, in the order in which their graphs were stored. One that is being
// started, or is removed meanwhile, is left out. It reads the documents of all of them in a few large requests.
func (s *Store) All(ctx context.Context) iter.Seq2[*View, error] {
	return func(yield func(*View, error) bool) {
		tallies, err := s.tallies(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for m, err := range s.client.Scan(ctx, s.stream(), stream.Scan{Subject: s.specSubject("*"), UpTo: math.MaxInt64}) {
			if err != nil {
				yield(nil, err)
				return
			}
			spec, err := workflow.DecodeSpec(m.Data)
			if err != nil {
				continue
			}
			v, err := s.viewOf(ctx, spec, tallies)
			switch {
			case errors.Is(err, errGone):
			case err != nil:
				yield(nil, err)
				return
			case !yield(v, nil):
				return
			}
		}
	}
}

// tallies reads those of all runs.
func (s *Store) tallies(ctx context.Context) (map[string]workflow.Tally, error) {
	all := make(map[string]workflow.Tally)
	for m, err := range s.client.Scan(ctx, s.stream(), stream.Scan{Subject: s.tallySubject("*"), UpTo: math.MaxInt64}) {
		if err != nil {
			return nil, err
		}
		if t, err := workflow.DecodeTally(m.Data); err == nil { // of one that cannot be read the look says so
			all[strings.TrimPrefix(m.Subject, s.tallySubject(""))] = t
		}
	}
	return all, nil
}

// viewOf joins a graph with its tally. If one of them is newer than the other knows, both are read again.
func (s *Store) viewOf(ctx context.Context, spec *workflow.Spec, tallies map[string]workflow.Tally) (*View, error) {
	t, ok := tallies[spec.Run]
	if ok && t.Abandoned {
		return nil, errGone
	}
	if ok && spec.Gen == t.Gen {
		g, err := workflow.NewGraph(spec)
		if err != nil {
			return nil, err
		}
		if g.Knows(&t) {
			return &View{Graph: g, Tally: g.Extend(&t)}, nil
		}
	}
	g, t, _, err := s.look(ctx, spec.ID, spec.Run)
	if err != nil {
		return nil, err
	}
	return &View{Graph: g, Tally: t}, nil
}

func unknown(err error) error {
	if errors.Is(err, errGone) {
		return queue.ErrNotFound
	}
	return err
}

// Job returns the job of a step, as it is when it is released.
func (v *View) Job(step int) *job.Record { return stepRecord(v.Spec, v.Tally.Gen, step) }

// Generation returns which generation of a run goes on or ended last, 0 if nothing is known of it.
func (s *Store) Generation(ctx context.Context, run string) (int, error) {
	t, _, err := s.tally(ctx, run)
	if errors.Is(err, errGone) {
		return 0, nil
	}
	return t.Gen, err
}

// CancelJob returns the job that cancels the workflow, whose own job has this life. It is of this generation of
// the run: one that is carried out late does nothing to another.
func (v *View) CancelJob(life string) *job.Record {
	gen := v.Tally.Gen
	if run, of, ok := workflow.ParseLife(life); ok && run == v.Run {
		gen = of
	}
	return chore(v.Spec, workflow.CancelID(v.ID, v.Run, gen), "cancel-"+workflow.Life(v.Run, gen))
}

func stopJob(spec *workflow.Spec, gen int) *job.Record {
	return chore(spec, workflow.StopID(spec.ID, spec.Run, gen), "stop-"+workflow.Life(spec.Run, gen))
}

func cleanJob(spec *workflow.Spec, gen int) *job.Record {
	return chore(spec, workflow.CleanID(spec.ID, spec.Run, gen), "clean-"+workflow.Life(spec.Run, gen))
}

func chore(spec *workflow.Spec, id, life string) *job.Record {
	return &job.Record{Queue: spec.Queue, Type: job.WorkflowType, ID: id, Life: life, Attempt: 1}
}
