package millhand

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/arrival"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/workflow"
)

// ErrWorkflowAbandoned says that a start of a workflow took longer than 10 s, and one more for each MiB of payloads of
// its groups, and was given up, so that nothing of it ran or ever will: it can be started again.
var ErrWorkflowAbandoned = errors.New("millhand: the start of the workflow took too long: start it again")

// maxSignal bounds the payload of a signal.
const maxSignal = 64 << 10

// Start starts a workflow and returns when its first steps are in their queues. The workflow is a job itself,
// which [Client.Get], [Client.Await], [Client.Cancel] and lists know: it succeeds when its last step has ended,
// or is dead with [ReasonStep] if one failed that it needs.
//
// It returns an [*InvalidError] for a workflow that breaks a rule, a [*DuplicateError] for an id that is
// alive, and [ErrWorkflowAbandoned]. After any other error it may be started or not. To call Start with the same w again
// then goes on with that start, as long as no step is added: it is started once, also if it has ended by then. Whoever
// has lost w can start another one of the id, which is refused while the first is alive; [Client.FindWorkflow] finds
// one that has ended.
func (c *Client) Start(ctx context.Context, w *Workflow) (Ref, error) {
	start, spec := c.flows.StartAgain, w.unsure
	if spec == nil {
		var err error
		if spec, err = newRun(w); err != nil {
			return Ref{}, err
		}
		start = c.flows.Start
	}
	err := workflowError(start(ctx, spec, w.cfg.Deadline))
	switch {
	case err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrDuplicate) && !errors.Is(err, ErrWorkflowAbandoned):
		w.unsure = spec
	case w.unsure != nil:
		w.unsure = nil
	}
	if err != nil {
		return Ref{}, err
	}
	return Ref{ID: spec.ID, Type: job.WorkflowType, Queue: spec.Queue, Life: workflow.Life(spec.Run, spec.Gen)}, nil
}

// newRun returns the graph of a workflow that is started.
func newRun(w *Workflow) (*workflow.Spec, error) {
	spec, err := w.spec()
	if err != nil {
		return nil, workflowError(err)
	}
	spec.ID, spec.Run = w.cfg.ID, strings.ReplaceAll(uuid.NewString(), "-", "")
	if spec.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		spec.ID = id.String()
	}
	return spec, nil
}

// workflowError shows an error of workflows as the public one.
func workflowError(err error) error {
	if invalid, ok := errors.AsType[*workflow.InvalidError](err); ok {
		err = &job.InvalidError{What: invalid.What, Name: invalid.Name, Rule: invalid.Rule}
	}
	if missing, ok := errors.AsType[*arrival.NoResultError](err); ok {
		return &NoResultError{Step: missing.Step, Job: missing.Job, State: stepStateOf(missing.State)}
	}
	if errors.Is(err, arrival.ErrResultGone) {
		return ErrResultGone
	}
	if errors.Is(err, arrival.ErrAbandoned) {
		return ErrWorkflowAbandoned
	}
	return publicError(err)
}

// Signal has a step of a workflow succeed that waits for it, with a payload of JSON of at most 64 KiB, nil for
// none. Once it has, more signals change nothing. It returns a [*FinishedError] for a workflow that has ended, an
// [*InvalidError] for one that has no signal of the name, and [ErrNotFound].
func (c *Client) Signal(ctx context.Context, ref Ref, step string, payload any) error {
	ref, _, err := ref.checked()
	if err != nil {
		return err
	}
	view, err := c.flows.Look(ctx, ref.ID, ref.Life)
	if err != nil {
		return workflowError(err)
	}
	data, err := json.Marshal(payload)
	if err != nil || len(data) > maxSignal {
		return publicError(job.Invalid("payload of a signal", len(data), "must be JSON of at most %d bytes", maxSignal))
	}
	sent, err := c.flows.Signal(ctx, view, step, data)
	if err == nil && !sent {
		return &FinishedError{Ref: refOfView(view), State: State(view.Phase(&view.Tally))}
	}
	return workflowError(err)
}

// storeOnce enqueues a job of a workflow, unless it is there.
func (c *Client) storeOnce(ctx context.Context, r *job.Record) error {
	e, err := queue.NewEnqueue(r)
	if err != nil {
		return publicError(err)
	}
	e.Once = true
	err = c.store.Enqueue(ctx, e)
	if _, there := errors.AsType[*queue.DuplicateError](err); there {
		return nil
	}
	return publicError(err)
}

// cancelWorkflow has a worker cancel a workflow.
func (c *Client) cancelWorkflow(ctx context.Context, ref Ref, view *arrival.View) (Cancellation, error) {
	info, err := c.Get(ctx, ref)
	if err != nil {
		return Cancellation{}, err
	}
	if info.State.Final() {
		return Cancellation{}, &FinishedError{Ref: info.Ref, State: info.State}
	}
	if err := c.storeOnce(ctx, view.CancelJob(info.Life)); err != nil {
		return Cancellation{}, err
	}
	return Cancellation{Ref: info.Ref}, nil
}

// RetryWorkflow has the failed part of a workflow run again that is dead or cancelled: steps that failed or were
// skipped, and those that were undone. What has succeeded is not run again. The workflow keeps its id, and has
// its deadline anew. The ref that is returned has the life of this retry: [Client.Await] of an older one
// waits for the newest that a worker has begun, and returns the older end until then.
//
// It returns an [*InvalidError] for a workflow that has not ended or has succeeded, a [*DuplicateError] if
// another one has its id by now, and [ErrNotFound]. What is known of the steps is needed, so it can be called
// for as long after the end as the workflow is kept: seven days, unless [WorkflowConfig] says otherwise.
func (c *Client) RetryWorkflow(ctx context.Context, ref Ref) (Ref, error) {
	ref, _, err := ref.checked()
	if err != nil {
		return Ref{}, err
	}
	view, err := c.flows.Look(ctx, ref.ID, ref.Life)
	if err != nil {
		return Ref{}, workflowError(err)
	}
	ref.Queue = view.Queue
	if ref.Life, err = c.flows.Retry(ctx, view); err != nil {
		return Ref{}, workflowError(err)
	}
	return ref, nil
}

// isWorkflow reports whether a job is a workflow, and not one by which it drives itself.
func isWorkflow(ref Ref) bool {
	_, _, inner := workflow.Split(ref.ID)
	return ref.Type == job.WorkflowType && !inner
}

// retried returns ref with the life of the newest retry of a workflow, of a ref to anything else itself.
func (c *Client) retried(ctx context.Context, ref Ref) (Ref, error) {
	run, gen, ok := workflow.ParseLife(ref.Life)
	if ref.Type != job.WorkflowType || !ok {
		return ref, nil
	}
	newest, err := c.flows.Generation(ctx, run)
	if err == nil && newest > gen {
		ref.Life = workflow.Life(run, newest)
	}
	return ref, err
}

// A StepState is where a step is.
type StepState string

// The states of a step. One that is released has the state of its job: see [State]. The job of a worker that does not say
// within half a second what it runs may be ready and run.
const (
	StepHeld      StepState = "held" // waits for other steps, or for a signal
	StepReady     StepState = "ready"
	StepScheduled StepState = "scheduled"
	StepRetrying  StepState = "retrying"
	StepRunning   StepState = "running" // of a group: its jobs are in their queue; of a workflow: it has begun
	StepSucceeded StepState = "succeeded"
	StepFailed    StepState = "failed"  // dead or cancelled
	StepSkipped   StepState = "skipped" // what it waited for cannot come any more
)

// A StepInfo is what is known about a step of a workflow.
type StepInfo struct {
	Ref
	Name     string    `json:"name"`
	Kind     string    `json:"kind"` // job, group, sleep, signal or workflow
	State    StepState `json:"state"`
	Waits    []string  `json:"waits,omitempty"` // what a held one waits for
	After    []string  `json:"after,omitempty"` // what it comes after
	Needs    []string  `json:"needs,omitempty"` // the steps that it comes after, by name
	Optional bool      `json:"optional,omitempty"`
	Undoes   string    `json:"undoes,omitempty"` // the step

	// Of a job that runs.
	Since  time.Time `json:"since,omitzero"`   // when it began to, by its worker's clock
	Worker string    `json:"worker,omitempty"` // its id

	// Of a group.
	Total  int `json:"total,omitempty"`  // jobs
	Done   int `json:"done,omitempty"`   // of these have ended
	Failed int `json:"failed,omitempty"` // of these

	// Error says of a group that failed before all its jobs were published why that was.
	Error string `json:"error,omitempty"`
}

// A WorkflowInfo is what is known about a workflow.
type WorkflowInfo struct {
	Info
	Name     string     `json:"name"`
	Phase    string     `json:"phase"` // running, cancelling, undoing, succeeded, dead or cancelled
	Deadline time.Time  `json:"deadline,omitzero"`
	Steps    []StepInfo `json:"steps"`
}

// FindWorkflow returns the ref of the workflow that has an id, of its newest start, in whatever queue it is. It costs two
// reads, however many workflows there are. It returns [ErrNotFound] if none is known: once it is not kept any more, none is.
func (c *Client) FindWorkflow(ctx context.Context, id string) (Ref, error) {
	if workflow.CheckID(id) != nil {
		return Ref{}, ErrNotFound // no workflow can have it
	}
	view, err := c.flows.Look(ctx, id, "")
	if err != nil {
		return Ref{}, workflowError(err)
	}
	return refOfView(view), nil
}

// refOfView is that of the generation which was seen.
func refOfView(v *arrival.View) Ref {
	return Ref{ID: v.ID, Type: job.WorkflowType, Queue: v.Queue, Life: workflow.Life(v.Run, v.Tally.Gen)}
}

// GetWorkflow returns what is known about a workflow and its steps, also after its end for as long as it is kept. It returns
// [ErrNotFound] if nothing is. It reads what there is of each step that is released, and asks the workers what they run if
// there is such a job, as [Client.Running] does.
func (c *Client) GetWorkflow(ctx context.Context, ref Ref) (WorkflowInfo, error) {
	ref, _, err := ref.checked()
	if err != nil {
		return WorkflowInfo{}, err
	}
	if ref, err = c.retried(ctx, ref); err != nil {
		return WorkflowInfo{}, workflowError(err)
	}
	info, err := c.Get(ctx, ref)
	if err != nil {
		return WorkflowInfo{}, err
	}
	view, err := c.flows.Look(ctx, ref.ID, info.Life)
	if err != nil {
		return WorkflowInfo{}, workflowError(err)
	}
	w := WorkflowInfo{Info: info, Name: view.Name, Phase: string(view.Phase(&view.Tally)), Deadline: view.Deadline, Steps: make([]StepInfo, len(view.Steps))}
	g, looking := errgroup.WithContext(ctx)
	g.SetLimit(stepsAtOnce)
	for i := range view.Steps {
		g.Go(func() (err error) {
			w.Steps[i], err = c.stepInfo(looking, view, i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return WorkflowInfo{}, err
	}
	return w, c.markRunning(ctx, w.Steps)
}

// markRunning asks the workers, all at once, which of the steps that are released they run. It asks nobody if there are
// none.
func (c *Client) markRunning(ctx context.Context, steps []StepInfo) error {
	released := make(map[Ref]*StepInfo)
	for i := range steps {
		if s := &steps[i]; s.State == StepReady && s.Kind == string(workflow.KindJob) {
			released[s.Ref] = s
		}
	}
	if len(released) == 0 {
		return nil
	}
	running, err := c.registry.Running(ctx, "")
	if err != nil {
		return publicError(err)
	}
	for _, r := range running {
		if s := released[Ref{ID: r.ID, Type: r.Type, Queue: r.Queue, Life: r.Life}]; s != nil {
			s.State, s.Since, s.Worker = StepRunning, r.Since.UTC(), r.Node
		}
	}
	return nil
}

// stepsAtOnce is how many steps are looked up at once: of a wide workflow thousands may be in their queues.
const stepsAtOnce = 32

func (c *Client) stepInfo(ctx context.Context, v *arrival.View, i int) (StepInfo, error) {
	step := &v.Steps[i]
	s := StepInfo{Ref: refOf(v.Job(i)), Name: step.Name, Kind: string(step.Kind), Optional: step.Optional, After: v.ComesAfter(i), Needs: v.Needs(i)}
	if step.UndoOf != nil {
		s.Undoes = v.Steps[*step.UndoOf].Name
	}
	s.State = stepStateOf(v.Tally.At(i))
	if step.Kind == workflow.KindGroup {
		p, err := c.flows.Progress(ctx, v, i)
		if err != nil {
			return s, workflowError(err)
		}
		s.addProgress(p, step.Jobs)
		return s, c.addPublishing(ctx, v, i, p.Published, &s)
	}
	if s.State != StepHeld {
		return s, nil
	}
	if s.Waits = v.WaitsFor(&v.Tally, i); len(s.Waits) > 0 {
		return s, nil
	}
	_, place, err := s.checked()
	if err != nil {
		return s, err
	}
	m, err := c.store.Find(ctx, place)
	switch {
	case errors.Is(err, queue.ErrNotFound): // about to be released, or its end to be counted
	case err != nil:
		return s, publicError(err)
	case m.Life != s.Life: // another job has its id
	case step.Kind == workflow.KindWorkflow:
		s.State = StepRunning
	default:
		s.State = StepState(m.State())
	}
	return s, nil
}

// A WorkflowSummary is what [Client.Workflows] yields.
type WorkflowSummary struct {
	Ref
	Name      string    `json:"name"`
	Phase     string    `json:"phase"` // as of [WorkflowInfo]
	CreatedAt time.Time `json:"created_at,omitzero"`
	Deadline  time.Time `json:"deadline,omitzero"`
	Steps     int       `json:"steps"`
	Succeeded int       `json:"succeeded"` // of these
	Failed    int       `json:"failed"`
	Skipped   int       `json:"skipped"`
}

// Ended returns how many of the steps have ended.
func (w WorkflowSummary) Ended() int { return w.Succeeded + w.Failed + w.Skipped }

// Workflows yields the workflows that are known, those that began first before the others. It reads one
// document for each. An error comes last.
func (c *Client) Workflows(ctx context.Context) iter.Seq2[WorkflowSummary, error] {
	return func(yield func(WorkflowSummary, error) bool) {
		for v, err := range c.flows.All(ctx) {
			if err != nil {
				yield(WorkflowSummary{}, workflowError(err))
				return
			}
			if !yield(summaryOf(v), nil) {
				return
			}
		}
	}
}

func summaryOf(v *arrival.View) WorkflowSummary {
	s := WorkflowSummary{
		Ref:  refOfView(v),
		Name: v.Name, Phase: string(v.Phase(&v.Tally)), CreatedAt: v.Created, Deadline: v.Deadline, Steps: len(v.Steps),
	}
	for i := range v.Steps {
		switch v.Tally.At(i) {
		case workflow.Succeeded:
			s.Succeeded++
		case workflow.Failed:
			s.Failed++
		case workflow.Skipped:
			s.Skipped++
		case workflow.Pending:
		}
	}
	return s
}
