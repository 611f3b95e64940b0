package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/supervisor"
)

// Workflows are those of the namespace.
type Workflows interface {
	// Instead returns how a job that is about to start ends without a run, since its step has ended or its
	// workflow is cancelled; nil if it is to run.
	Instead(ctx context.Context, r *job.Record) (*queue.Outcome, error)
	// Drive runs a job of type [job.WorkflowType].
	Drive(ctx context.Context, r *job.Record) ([]byte, error)
}

// driving is how many jobs of type [job.WorkflowType] a worker runs at once, for each queue. They need no
// slot of others: they are short, and what they wait for may be those who have the slots.
const driving = 4

// A flowUse says whether a queue has workflows, and has the slots of the jobs by which they drive themselves.
type flowUse struct {
	once  sync.Once
	used  chan struct{}
	slots *slots.Slots
}

func newFlowUse() *flowUse {
	return &flowUse{used: make(chan struct{}), slots: slots.New(driving, slots.ByWeight)}
}

// pausing tells the slots of workflows, too, what is paused: a backup waits until nobody asks for a job.
type pausing struct {
	*slots.Slots
	flows map[string]*flowUse
}

func (p pausing) Pause(queue, typ string, paused bool) {
	p.Slots.Pause(queue, typ, paused)
	if f := p.flows[queue]; f != nil {
		f.slots.Pause(queue, typ, paused)
	}
}

func (p pausing) Suspend(on bool) {
	p.Slots.Suspend(on)
	for _, f := range p.flows {
		f.slots.Suspend(on)
	}
}

// drives reports whether the worker runs the jobs by which workflows drive themselves.
func (w *Worker) drives() bool {
	for _, f := range w.flows {
		select {
		case <-f.used:
			return true
		default:
		}
	}
	return false
}

func (f *flowUse) begin() { f.once.Do(func() { close(f.used) }) }

// typeOf returns how jobs of a type are run.
func (w *Worker) typeOf(typ string) Type {
	if typ == job.WorkflowType && w.cfg.Workflows != nil {
		return Type{Handler: w.driveWorkflow, Settings: Settings{
			Timeout: time.Minute, MaxAttempts: job.MaxMaxAttempts, Backoff: job.Backoff{Max: time.Minute},
		}}
	}
	return w.cfg.Types[typ]
}

func (w *Worker) driveWorkflow(ctx context.Context, h *queue.Delivery, _ int) ([]byte, error) {
	return w.cfg.Workflows.Drive(ctx, &h.Record)
}

// runWorkflows runs the jobs by which workflows drive themselves, once the queue has any: a queue without
// costs no consumer and no request.
func (w *Worker) runWorkflows(ctx context.Context, q Queue) error {
	select {
	case <-ctx.Done():
		return nil
	case <-w.flows[q.Name].used:
	}
	if err := w.store.CheckLease(ctx, q.Name, job.WorkflowType); err != nil {
		return err
	}
	r, err := newRunner(w, q.Name, job.WorkflowType)
	if err != nil {
		return err
	}
	p, err := queue.NewPuller(w.settler, w.flows[q.Name].slots.Source(1, q.Name, job.WorkflowType))
	if err != nil {
		return err
	}
	if err := r.subscribe(p); err != nil {
		return err
	}
	tree, err := w.supervise(supervisor.Spec{
		Name: "workflows of " + q.Name, MaxRestarts: new(10), Within: time.Minute,
		Children: []supervisor.Child{
			{Name: "runner of workflows", Part: r, StopTimeout: handlerGrace + settleGrace},
			{Name: "puller of workflows", Run: w.pull(p), StopTimeout: pullGrace},
		},
	})
	if err != nil {
		return err
	}
	return tree.RunReady(ctx, func() {})
}

// startStep looks whether the step of a job is still to run. Else it reports false, and how the attempt
// ended.
func (a *attempt) startStep(ctx context.Context) (end ending, ok bool) {
	if a.runner.worker.cfg.Workflows == nil {
		return ending{}, true
	}
	instead, err := a.runner.worker.cfg.Workflows.Instead(ctx, &a.held.Record)
	switch {
	case err != nil && errors.Is(err, context.Canceled):
		return ending{}, false
	case err != nil:
		a.runner.worker.log.WarnContext(ctx, "a step of a workflow is handed back, since it is not known whether it is still to run", append(a.held.LogAttrs(), slog.Any("err", err))...)
		return ending{Outcome: queue.Outcome{Kind: job.EventSnoozed, Delay: time.Second}}, false
	case instead != nil:
		return ending{Outcome: *instead}, false
	}
	return ending{}, true
}
