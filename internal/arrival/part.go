package arrival

import (
	"context"
	"errors"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// A Part is what a job is in a workflow: the workflow's own, or that of a step.
type Part struct {
	Workflow string
	Phase    workflow.Phase
	Deadline time.Time // zero: it has none

	Step  string // of which the job is; empty: it is the workflow's own
	State workflow.State
	Waits []string // what the step waits for

	Steps, Ended int      // of the workflow
	Going        []string // steps that run, or may
	Signals      []string // steps that wait for somebody to signal
}

// Held reports whether the job is of a step that is not released.
func (p *Part) Held() bool {
	return p.Step != "" && p.State == workflow.Pending && len(p.Waits) > 0
}

// PartOf returns what the job of a place is in the workflow whose name its id has, nil if it is none of one.
func PartOf(ctx context.Context, c *stream.Client, p job.Place) (*Part, error) {
	id, name, inner := workflow.Split(p.ID.String())
	if !inner {
		if p.Type.String() != job.WorkflowType || workflow.CheckID(p.ID.String()) != nil {
			return nil, nil //nolint:nilerr // no workflow has such an id
		}
		id = p.ID.String()
	}
	s := &Store{client: c, graphs: make(map[string]*workflow.Graph)}
	spec, _, err := s.spec(ctx, id)
	if errors.Is(err, errGone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	g, t, _, err := s.look(ctx, id, spec.Run)
	if errors.Is(err, errGone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !inner {
		return partOf(g, &t), nil
	}
	for i := range g.Steps {
		if r := stepRecord(g.Spec, t.Gen, i); g.Steps[i].Name == name && r.Queue == p.Queue.String() && r.Type == p.Type.String() {
			part := partOf(g, &t)
			part.Step, part.State, part.Waits = name, t.At(i), g.WaitsFor(&t, i)
			return part, nil
		}
	}
	return nil, nil
}

func partOf(g *workflow.Graph, t *workflow.Tally) *Part {
	p := &Part{Workflow: g.ID, Phase: g.Phase(t), Deadline: g.Deadline, Steps: len(g.Steps)}
	for i := range g.Steps {
		switch {
		case t.At(i) != workflow.Pending:
			p.Ended++
		case g.Steps[i].Kind == workflow.KindSignal:
			p.Signals = append(p.Signals, g.Steps[i].Name)
		case len(g.WaitsFor(t, i)) == 0:
			p.Going = append(p.Going, g.Steps[i].Name)
		}
	}
	return p
}
