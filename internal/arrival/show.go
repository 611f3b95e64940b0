package arrival

import (
	"context"
	"errors"
	"iter"
	"math"

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
// started, or is removed meanwhile, is left out.
func (s *Store) All(ctx context.Context) iter.Seq2[*View, error] {
	return func(yield func(*View, error) bool) {
		for m, err := range s.client.Scan(ctx, s.stream(), stream.Scan{Subject: s.specSubject("*"), UpTo: math.MaxInt64}) {
			if err != nil {
				yield(nil, err)
				return
			}
			spec, err := workflow.DecodeSpec(m.Data)
			if err != nil {
				continue
			}
			g, t, _, err := s.look(ctx, spec.ID, spec.Run)
			switch {
			case errors.Is(err, errGone):
			case err != nil:
				yield(nil, err)
				return
			case !yield(&View{Graph: g, Tally: t}, nil):
				return
			}
		}
	}
}

func unknown(err error) error {
	if errors.Is(err, errGone) {
		return queue.ErrNotFound
	}
	return err
}

// Job returns the job of a step, as it is when it is released.
func (v *View) Job(step int) *job.Record { return stepRecord(v.Spec, v.Tally.Gen, step) }

// SignalJob returns the job that whoever sends a signal enqueues, or an [*workflow.InvalidError].
func (v *View) SignalJob(name string, payload []byte) (*job.Record, error) {
	for i := range v.Steps {
		if v.Steps[i].Name != name {
			continue
		}
		if v.Steps[i].Kind != workflow.KindSignal {
			return nil, &workflow.InvalidError{What: "step", Name: name, Rule: "is no signal"}
		}
		r := v.Job(i)
		r.Payload = payload
		return r, nil
	}
	return nil, &workflow.InvalidError{What: "workflow", Name: v.ID, Rule: "has no signal " + name}
}

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
