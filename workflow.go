package millhand

import (
	"encoding/json"
	"iter"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/workflow"
)

// A Workflow is jobs that depend on each other: what is started when another has ended, and how. It is a
// description: [Client.Start] starts it, as often as one likes. Make it with [NewWorkflow]. It is not safe
// for concurrent use.
type Workflow struct {
	name  string
	cfg   WorkflowConfig
	steps []*Step
	err   error // of the first step that breaks a rule

	unsure *workflow.Spec // of a start of which nobody knows whether it began; nil: of none
}

// WorkflowConfig says how a workflow is run. The zero value is usable.
type WorkflowConfig struct {
	// ID is the workflow's id, one of at most 60 of A-Z a-z 0-9 _ - that begins with a letter or digit and
	// contains no "--". While a workflow of the id is alive, another one is refused with [ErrDuplicate].
	// Defaults to a new one.
	ID string

	// Queue is where its steps run that do not say otherwise. Defaults to "default". A worker has to take
	// jobs from it for the workflow to begin again after a crash, to keep its deadline, and for timers and
	// signals.
	Queue string

	// Deadline is how long the workflow may take. It is cancelled then, with [ReasonDeadline]. One under 10 s
	// is kept after 10 s at the latest, and a negative one is refused. Defaults to none.
	Deadline time.Duration

	// Keep is for how long what is known of the workflow is kept after its end: its steps, what they returned, and
	// what a retry needs. At least 1 h. A workflow that is a step is kept as long as the outer one. Defaults to 7 days.
	Keep time.Duration

	// FailFast has the failure of a step that is not [Optional] stop the others: their jobs are cancelled, and what
	// has not begun does not, but for what cleans up. The workflow is dead when all have ended. Without it
	// what does not need the failed step goes on.
	FailFast bool
}

// NewWorkflow returns a workflow without steps. The name is for people: at most 100 characters that can be printed.
func NewWorkflow(name string, cfg WorkflowConfig) *Workflow { return &Workflow{name: name, cfg: cfg} }

// A Step is one part of a [Workflow].
type Step struct {
	workflow *Workflow
	number   int
	spec     workflow.Step
	undo     Args
	items    iter.Seq[Args] // of a group
	early    bool
}

// A StepOption says when and how a step runs.
type StepOption func(*Step)

// Step adds a job. Its id will be that of the workflow, "--" and the name, which is one of at most 40 of
// A-Z a-z 0-9 _ - that begins with a letter or digit and contains no "--". Without a condition it may run at
// once. What breaks a rule is an [ErrInvalid] of [Client.Start].
func (w *Workflow) Step(name string, args Args, opts ...StepOption) *Step {
	s := w.add(workflow.Step{Name: name, Kind: workflow.KindJob}, opts)
	s.setArgs(&s.spec, args)
	return s
}

// Sleep adds a timer, which succeeds a time after it may run.
func (w *Workflow) Sleep(name string, d time.Duration, opts ...StepOption) *Step {
	return w.add(workflow.Step{Name: name, Kind: workflow.KindSleep, SleepMS: max(d, 0).Milliseconds()}, opts)
}

// Signal adds a step that succeeds when somebody calls [Client.Signal], also if nothing waits for it yet. It
// comes after nothing.
func (w *Workflow) Signal(name string, opts ...StepOption) *Step {
	return w.add(workflow.Step{Name: name, Kind: workflow.KindSignal}, opts)
}

// Workflow adds a workflow, as it is at this call: the step ends as that does, and is cancelled, undone and retried as
// a whole. It has an id of its own, which [StepInfo] has, and its own deadline; it takes no ID, and its queue is by default
// the one of w. The sequences of its groups are gone through by this call. At most 16 levels are allowed, those included
// that are added with [Grow].
func (w *Workflow) Workflow(name string, child *Workflow, opts ...StepOption) *Step {
	step := workflow.Step{Name: name, Kind: workflow.KindWorkflow}
	switch {
	case child == nil || child == w:
		w.refuse(&job.InvalidError{What: "step", Name: name, Rule: "is a workflow, which must be another one"})
	case child.cfg.Keep != 0:
		w.refuse(&job.InvalidError{What: "step", Name: name, Rule: "is a workflow, which takes no Keep: it is kept as long as the outer one"})
	case child.cfg.ID != "":
		w.refuse(&job.InvalidError{What: "step", Name: name, Rule: "is a workflow, which takes no ID: it is made from those of workflow and step"})
	default:
		spec, err := child.spec()
		if err != nil {
			w.refuse(err)
		}
		spec.Queue, spec.WithinMS = child.cfg.Queue, child.cfg.Deadline.Milliseconds()
		step.Child = spec
	}
	return w.add(step, opts)
}

func (w *Workflow) add(spec workflow.Step, opts []StepOption) *Step {
	s := &Step{workflow: w, number: len(w.steps), spec: spec}
	w.steps, w.unsure = append(w.steps, s), nil
	for i, set := range opts {
		if set == nil {
			w.refuse(job.Invalid("option of step "+spec.Name, i+1, "is nil"))
			continue
		}
		set(s)
	}
	if s.early {
		s.comeEarly()
	}
	return s
}

// comeEarly applies [Early], whichever option came first.
func (s *Step) comeEarly() {
	early := false
	for i := range s.spec.After {
		if c := &s.spec.After[i]; c.Mode == workflow.OneFailed {
			c.Early, early = true, true
		}
	}
	if !early {
		s.workflow.refuse(&job.InvalidError{What: "step", Name: s.spec.Name, Rule: "is to come early, and after no failure: Early goes with AfterFailure"})
	}
}

func (w *Workflow) refuse(err error) {
	if w.err == nil {
		w.err = err
	}
}

// setArgs has a step run a job.
func (s *Step) setArgs(spec *workflow.Step, args Args) {
	if isNil(args) {
		s.workflow.refuse(&job.InvalidError{What: "arguments of step " + spec.Name, Rule: "must not be nil"})
		return
	}
	payload, err := payloadOf(args)
	switch {
	case err != nil:
		s.workflow.refuse(err)
	case len(payload) > 0 && !json.Valid(payload):
		s.workflow.refuse(&job.InvalidError{What: "payload of step " + spec.Name, Rule: "is no JSON"})
	}
	if args.Type() == job.WorkflowType {
		s.workflow.refuse(&job.InvalidError{What: "type", Name: job.WorkflowType, Rule: "is that of workflows themselves: a step runs another"})
	}
	spec.Type, spec.Args = args.Type(), payload
}

// After has a step run when all of these have succeeded. If one does not, it is skipped, and so is what
// comes after it.
func After(steps ...*Step) StepOption { return condition(workflow.AllSucceeded, steps) }

// AfterEnd has a step run when all of these have ended, in whatever way. A workflow that is cancelled
// still runs steps that have no other conditions than this and [AfterFailure], to clean up.
func AfterEnd(steps ...*Step) StepOption { return condition(workflow.AllEnded, steps) }

// AfterFailure has a step run when all of these have ended and one of them at least has failed.
func AfterFailure(steps ...*Step) StepOption { return condition(workflow.OneFailed, steps) }

// Early has a step that comes [AfterFailure] run as soon as it is certain that one of those fails, while the others go on:
// when the first has failed, or the first job of a group that tolerates no failure ([Tolerate]). It is of such steps only.
func Early() StepOption { return func(s *Step) { s.early = true } }

// AfterAny has a step run when the first of these has succeeded. Options stand beside each other: with two
// of them both have to hold.
func AfterAny(steps ...*Step) StepOption { return condition(workflow.AnySucceeded, steps) }

func condition(mode workflow.Mode, steps []*Step) StepOption {
	return func(s *Step) {
		c := workflow.Condition{Mode: mode}
		for _, d := range steps {
			if d == nil || d.workflow != s.workflow {
				s.workflow.refuse(&job.InvalidError{What: "step", Name: s.spec.Name, Rule: "comes after a step of another workflow"})
				return
			}
			c.Of = append(c.Of, d.number)
		}
		s.spec.After = append(s.spec.After, c)
	}
}

// Optional has the workflow succeed even if the step does not.
func Optional() StepOption { return func(s *Step) { s.spec.Optional = true } }

// Undo has a job run if the step has succeeded and the workflow has failed or is cancelled: when all steps
// have ended, and what comes after this one is undone. It is the step "undo-" and this one's name.
func Undo(args Args) StepOption { return func(s *Step) { s.undo = args } }

// Enqueue says how the job of a step is enqueued. [WithQueue] and [WithMaxAttempts] are what a step takes.
func Enqueue(opts ...EnqueueOption) StepOption {
	return func(s *Step) {
		var o enqueueOptions
		for _, set := range opts {
			if set != nil {
				set(&o)
			}
		}
		if o.err != nil {
			s.workflow.refuse(o.err)
		}
		if o.chosenID || o.unique || o.uniqueFor > 0 || o.delayed || !o.runAt.IsZero() || o.rejectAtQuota || o.alone ||
			o.Timeout != 0 || o.Expires != 0 || o.Meta != nil || o.Trace != nil || o.Awaited {
			s.workflow.refuse(&job.InvalidError{What: "step", Name: s.spec.Name, Rule: "takes WithQueue and WithMaxAttempts, and no other options"})
		}
		s.spec.Queue, s.spec.Options.MaxAttempts = o.Queue, o.MaxAttempts
	}
}

// spec returns the graph, without an id and a run.
func (w *Workflow) spec() (*workflow.Spec, error) {
	spec := &workflow.Spec{Gen: 1, Name: w.name, Queue: w.cfg.Queue, FailFast: w.cfg.FailFast, KeepMS: w.cfg.Keep.Milliseconds(), Steps: w.stepsFrom(0)}
	if spec.Queue == "" {
		spec.Queue = job.DefaultQueue
	}
	if d := w.cfg.Deadline; d < 0 {
		w.refuse(&job.InvalidError{What: "deadline", Name: d.String(), Rule: "must not be negative"})
	}
	return spec, w.err
}

// stepsFrom returns the steps from a number on, and then what undoes them.
func (w *Workflow) stepsFrom(first int) (steps []workflow.Step) {
	for _, s := range w.steps[first:] {
		step := s.spec
		if s.items != nil && w.err == nil {
			if err := s.fill(&step); err != nil {
				w.refuse(err)
			}
		}
		steps = append(steps, step)
	}
	for _, s := range w.steps[first:] {
		if s.undo == nil {
			continue
		}
		undo := workflow.Step{Name: workflow.UndoName(s.spec.Name), Kind: workflow.KindJob, Queue: s.spec.Queue, UndoOf: &s.number}
		s.setArgs(&undo, s.undo)
		steps = append(steps, undo)
	}
	return steps
}
