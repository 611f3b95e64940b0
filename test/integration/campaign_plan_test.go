package integration

import (
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/millhand/millhand"
)

// A plan is a workflow that a seed has made up, and what its caller does with it.
type plan struct {
	workflow *millhand.Workflow
	id       string
	signals  []string      // that the caller sends
	cancel   time.Duration // after which the caller cancels it; 0: never
	retry    bool          // it is retried if it has not succeeded, and then all steps succeed
}

// A chore is the payload of the job of a step: what it does.
type chore struct {
	Plan  string `json:"plan"`
	Does  string `json:"does,omitempty"`
	For   int    `json:"for,omitempty"`   // milliseconds
	Grows int    `json:"grows,omitempty"` // steps that it adds
}

// What a job does, other than to succeed.
const (
	fails    = "fails"    // for good, until its workflow is retried
	stumbles = "stumbles" // at its first attempt
)

// job returns the job of a step. Those that add steps need a worker in Go.
func (c chore) job() millhand.Raw {
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err) // it cannot fail
	}
	if c.Grows > 0 {
		return millhand.Raw{Name: "grow", Payload: payload}
	}
	return millhand.Raw{Name: "visit", Payload: payload}
}

// A planner makes up workflows.
type planner struct {
	*rand.Rand
	plan *plan // at hand
}

// chance reports true n times of a hundred.
func (p *planner) chance(n int) bool { return p.IntN(100) < n }

func (p *planner) chore() chore {
	c := chore{Plan: p.plan.id, For: p.IntN(60)}
	switch n := p.IntN(100); {
	case n < 8:
		c.Does = fails
	case n < 16:
		c.Does = stumbles
	}
	return c
}

// random makes up a graph, and what is done with it.
func (p *planner) random(id string) *plan {
	p.plan = &plan{id: id, retry: p.chance(60)}
	cfg := millhand.WorkflowConfig{ID: id, FailFast: p.chance(20)}
	if p.chance(10) {
		p.plan.cancel = time.Duration(1+p.IntN(3000)) * time.Millisecond
	}
	unsignalled := p.chance(10)
	if unsignalled {
		cfg.Deadline = 12 * time.Second
	}
	p.plan.workflow = millhand.NewWorkflow("random", cfg)
	p.steps(p.plan.workflow, 0)
	if unsignalled {
		p.plan.workflow.Signal("never")
	}
	return p.plan
}

// wide is a workflow with one large group, and what comes before and behind it.
func (p *planner) wide(id string, jobs int) *plan {
	p.plan = &plan{id: id}
	w := millhand.NewWorkflow("wide", millhand.WorkflowConfig{ID: id})
	before := w.Step("before", chore{Plan: id}.job())
	group := w.Group("group", p.jobs(jobs, 0), millhand.After(before), millhand.KeepResults())
	w.Step("behind", chore{Plan: id}.job(), millhand.After(group))
	p.plan.workflow = w
	return p.plan
}

// jobs makes up those of a group, so many in a thousand of which fail.
func (p *planner) jobs(n, failing int) iter.Seq[millhand.Args] {
	all := make([]millhand.Args, n) // the same, however often somebody goes through them
	for i := range all {
		c := chore{Plan: p.plan.id}
		if p.IntN(1000) < failing {
			c.Does = fails
		}
		all[i] = c.job()
	}
	return func(yield func(millhand.Args) bool) {
		for _, args := range all {
			if !yield(args) {
				return
			}
		}
	}
}

// maxLevels is how deep workflows are steps of others.
const maxLevels = 3

// steps adds some to a workflow, which is inside of so many others.
func (p *planner) steps(w *millhand.Workflow, level int) {
	var there []*millhand.Step
	for i := range 2 + p.IntN(9-2*level) {
		there = append(there, p.step(w, fmt.Sprint("s", i), there, level))
	}
}

func (p *planner) step(w *millhand.Workflow, name string, there []*millhand.Step, level int) *millhand.Step {
	var opts []millhand.StepOption
	if p.chance(15) {
		opts = append(opts, millhand.Optional())
	}
	kind := p.IntN(100)
	if kind < 5 && level == 0 { // who signals knows the steps of the outer one only
		p.plan.signals = append(p.plan.signals, name)
		return w.Signal(name, opts...)
	}
	opts = append(opts, p.conditions(there)...)
	if kind < 12 {
		return w.Sleep(name, time.Duration(p.IntN(2000))*time.Millisecond, opts...)
	}
	if p.chance(15) {
		opts = append(opts, millhand.Undo(chore{Plan: p.plan.id, For: p.IntN(30)}.job()))
	}
	switch {
	case kind < 20 && level+1 < maxLevels:
		child := millhand.NewWorkflow("inner", millhand.WorkflowConfig{FailFast: p.chance(20)})
		p.steps(child, level+1)
		return w.Workflow(name, child, opts...)
	case kind < 32:
		if p.chance(40) {
			opts = append(opts, millhand.Tolerate(p.IntN(3)))
		}
		if p.chance(50) {
			opts = append(opts, millhand.KeepResults())
		}
		return w.Group(name, p.jobs(p.IntN(30), 30*p.IntN(3)), opts...)
	case kind < 38:
		c := p.chore()
		c.Grows = 1 + p.IntN(4)
		return w.Step(name, c.job(), opts...)
	}
	return w.Step(name, p.chore().job(), opts...)
}

// conditions makes up what a step comes after.
func (p *planner) conditions(there []*millhand.Step) (opts []millhand.StepOption) {
	if len(there) == 0 || p.chance(15) {
		return nil
	}
	for range 1 + p.IntN(2) {
		var of []*millhand.Step
		for _, i := range p.Perm(len(there))[:1+p.IntN(min(3, len(there)))] {
			of = append(of, there[i])
		}
		switch n := p.IntN(100); {
		case n < 55:
			opts = append(opts, millhand.After(of...))
		case n < 75:
			opts = append(opts, millhand.AfterEnd(of...))
		case n < 90:
			opts = append(opts, millhand.AfterAny(of...))
		case n < 95:
			opts = append(opts, millhand.AfterFailure(of...))
		default:
			return append(opts, millhand.AfterFailure(of...), millhand.Early())
		}
	}
	return opts
}
