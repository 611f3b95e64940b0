package web

import (
	"context"
	"errors"
	"slices"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/job"
)

// maxWorkflows is how many workflows the list has at most, those that began last.
const maxWorkflows = 500

type workflowsView struct {
	*look
	Rows []millhand.WorkflowSummary
	More bool // there are others
}

func (h *Handler) workflowsPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	d := &workflowsView{look: l}
	for w, err := range h.client.Workflows(ctx) {
		if err != nil {
			return nil, err
		}
		if h.sees(v.user, place{w.Queue, job.WorkflowType}) {
			d.Rows = append(d.Rows, w)
		}
	}
	slices.Reverse(d.Rows)
	if d.More = len(d.Rows) > maxWorkflows; d.More {
		d.Rows = d.Rows[:maxWorkflows]
	}
	return &page{title: "Workflows", section: "Workflows", template: "workflows", data: d}, nil
}

type workflowView struct {
	*look
	millhand.WorkflowInfo
	Graph *graph
}

// Ended reports whether the workflow has.
func (w *workflowView) Ended() bool { return w.State.Final() }

func (h *Handler) workflowPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	ref, err := h.workflowOf(v)
	if err != nil {
		return nil, err
	}
	w, err := h.client.GetWorkflow(ctx, ref)
	if err != nil {
		return nil, err
	}
	h.onlyVisibleSteps(v.user, &w)
	d := &workflowView{look: l, WorkflowInfo: w, Graph: newGraph(w.Steps)}
	return &page{title: "Workflow " + w.ID, section: "Workflows", template: "workflow", data: d}, nil
}

// onlyVisibleSteps leaves out the steps that a user may not see, and then what texts say of steps.
func (h *Handler) onlyVisibleSteps(u User, w *millhand.WorkflowInfo) {
	all := len(w.Steps)
	w.Steps = slices.DeleteFunc(w.Steps, func(s millhand.StepInfo) bool { return !h.sees(u, place{s.Queue, s.Type}) })
	if len(w.Steps) == all {
		return
	}
	w.Failures = nil
	for i := range w.Steps {
		w.Steps[i].Waits, w.Steps[i].After = nil, nil
	}
}

// workflowOf is the workflow that an address names, if the user may see it.
func (h *Handler) workflowOf(v *visit) (millhand.Ref, error) {
	ref := millhand.Ref{Queue: v.r.PathValue("queue"), Type: job.WorkflowType, ID: v.r.PathValue("id")}
	if p := (place{ref.Queue, ref.Type}); !h.sees(v.user, p) {
		return ref, v.unseen(p)
	}
	return ref, nil
}

func (h *Handler) cancelWorkflow(ctx context.Context, v *visit) (*notice, error) {
	return h.changeWorkflow(ctx, v, audit.Record{Action: audit.CancelWorkflow}, "is being cancelled", func(ref millhand.Ref) error {
		_, err := h.client.Cancel(ctx, ref)
		return err
	})
}

func (h *Handler) retryWorkflow(ctx context.Context, v *visit) (*notice, error) {
	return h.changeWorkflow(ctx, v, audit.Record{Action: audit.RetryWorkflow}, "is retried", func(ref millhand.Ref) error {
		_, err := h.client.RetryWorkflow(ctx, ref)
		return err
	})
}

func (h *Handler) signalWorkflow(ctx context.Context, v *visit) (*notice, error) {
	step := v.r.PostFormValue("step")
	return h.changeWorkflow(ctx, v, audit.Record{Action: audit.SignalWorkflow, Detail: "step " + step}, "is signalled", func(ref millhand.Ref) error {
		w, err := h.client.GetWorkflow(ctx, ref)
		if err != nil {
			return err
		}
		for i := range w.Steps {
			if p := (place{w.Steps[i].Queue, w.Steps[i].Type}); w.Steps[i].Name == step && !h.sees(v.user, p) {
				return v.unseen(p)
			}
		}
		return h.client.Signal(ctx, ref, step, map[string]string{"by": v.user.Name})
	})
}

// changeWorkflow does something to a workflow, and keeps a record of it.
func (h *Handler) changeWorkflow(ctx context.Context, v *visit, r audit.Record, past string, do func(millhand.Ref) error) (*notice, error) {
	ref, err := h.workflowOf(v)
	if err != nil {
		return nil, err
	}
	err = do(ref)
	if finished, ok := errors.AsType[*millhand.FinishedError](err); ok {
		return nil, &problem{status: 409, title: "Nothing was done", text: "The workflow has ended: it is " + string(finished.State) + "."}
	}
	if err != nil {
		return nil, err
	}
	r.Ref, r.Count = ref.Queue+"/"+ref.Type+"/"+ref.ID, 1
	h.record(ctx, v, r)
	return done("Workflow %s %s.", ref.ID, past), nil
}
