package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/view"
)

// usualWorkflows is how many workflows a page has, unless it is asked for more or fewer.
const usualWorkflows = 50

// phases are those of workflows, those that go on first.
func phases() []string {
	return []string{"running", "cancelling", "undoing", "succeeded", "dead", "cancelled"}
}

// A phaseCount is how many workflows are in a phase.
type phaseCount struct {
	Phase string
	N     int
}

type workflowsView struct {
	*look
	Rows   []millhand.WorkflowSummary
	All    int // that the user may see
	Counts []phaseCount
	Pick   pick
	Has    string // what a name or an id is to have
	Only   bool   // something is picked
	Cursor string // of the next page
	Next   string // its address
	At     time.Time
}

func (h *Handler) workflowsPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	q := v.r.URL.Query()
	d := &workflowsView{look: l, Pick: pick{Name: "phase", Words: phases(), Is: q.Get("phase")}, Has: strings.TrimSpace(q.Get("name"))}
	d.Only = d.Pick.Is != "" || d.Has != ""
	if d.Pick.Is != "" && !slices.Contains(d.Pick.Words, d.Pick.Is) {
		return nil, badForm("phase", "want one of "+strings.Join(d.Pick.Words, ", "))
	}
	n, err := pageSize(q.Get("n"))
	if err != nil {
		return nil, err
	}
	if n == 0 {
		n = usualWorkflows
	}
	all, err := h.lastWorkflows(ctx, l, &d.At)
	if err != nil {
		return nil, err
	}
	if h.opts.Visible != nil {
		all = slices.DeleteFunc(slices.Clone(all), func(w millhand.WorkflowSummary) bool { return !h.sees(v.user, place{w.Queue, job.WorkflowType}) })
	}
	d.count(all)
	rest, err := behind(all, q.Get("cursor"))
	if err != nil {
		return nil, err
	}
	for i := range rest {
		switch {
		case !d.means(&rest[i]):
		case len(d.Rows) < n:
			d.Rows = append(d.Rows, rest[i])
		default:
			d.Cursor = cursorAt(&d.Rows[n-1])
		}
		if d.Cursor != "" {
			break
		}
	}
	if d.Cursor != "" {
		q.Set("cursor", d.Cursor)
		d.Next = v.h.base + "/workflows?" + q.Encode()
	}
	return &page{title: "Workflows", section: "Workflows", template: "workflows", data: d}, nil
}

// lastWorkflows are those there are or, if the broker does not answer, those there were.
func (h *Handler) lastWorkflows(ctx context.Context, l *look, at *time.Time) (all []millhand.WorkflowSummary, err error) {
	if l.Failed != nil {
		all, *at, _ = h.flows.known()
		if at.IsZero() {
			err = l.Failed
		}
		return all, err
	}
	all, *at, err = h.workflows(ctx)
	return all, err
}

// count counts by phase, and leaves out phases without one.
func (d *workflowsView) count(all []millhand.WorkflowSummary) {
	d.All = len(all)
	n := make(map[string]int)
	for i := range all {
		n[all[i].Phase]++
	}
	for _, phase := range phases() {
		if n[phase] > 0 {
			d.Counts = append(d.Counts, phaseCount{phase, n[phase]})
		}
	}
}

// means reports whether a workflow is one of those that are picked.
func (d *workflowsView) means(w *millhand.WorkflowSummary) bool {
	has := func(text string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(d.Has)) }
	return (d.Pick.Is == "" || d.Pick.Is == w.Phase) && (d.Has == "" || has(w.Name) || has(w.ID))
}

func (d *workflowsView) tell(*visit) any {
	return struct {
		Workflows []millhand.WorkflowSummary `json:"workflows"`
		Cursor    string                     `json:"cursor,omitempty"`
	}{append([]millhand.WorkflowSummary{}, d.Rows...), d.Cursor}
}

type workflowView struct {
	*look
	millhand.WorkflowInfo
	Graph *graph
	List  stepList
}

// Ended reports whether the workflow has.
func (d *workflowView) Ended() bool { return d.State.Final() }

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
	v.onlyAllowed(&w)
	d := &workflowView{look: l, WorkflowInfo: w}
	levels := levelsOf(w.Steps)
	if d.List, err = v.listSteps(w.Steps, levels); err != nil {
		return nil, err
	}
	d.Graph = v.newGraph(w.Steps, levels)
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
	seen := make(map[string]bool, len(w.Steps))
	for i := range w.Steps {
		seen[w.Steps[i].Name] = true
	}
	for i := range w.Steps {
		s := &w.Steps[i]
		s.Waits, s.After = nil, nil
		s.Needs = slices.DeleteFunc(slices.Clone(s.Needs), func(name string) bool { return !seen[name] })
		if !seen[s.Undoes] {
			s.Undoes = ""
		}
	}
}

// onlyAllowed leaves of a workflow's own job what the user may see of any job.
func (v *visit) onlyAllowed(w *millhand.WorkflowInfo) {
	w.Returned = millhand.Returned{} // a workflow returns nothing
	if v.h.may(v.user, MayPayload) {
		w.Meta = v.h.opts.Redact.meta(w.Meta)
		return
	}
	w.Meta = nil
	w.Failures = slices.Clone(w.Failures)
	for i := range w.Failures {
		w.Failures[i].Error, w.Failures[i].Stack = groupedText(w.Failures[i].Error, ""), ""
	}
}

func (d *workflowView) tell(*visit) any { return d.WorkflowInfo }

// workflowOfJob is the workflow that a job is of, nil if there is none that the user may see.
func (h *Handler) workflowOfJob(ctx context.Context, v *visit, j *view.Job) *millhand.Ref {
	id, _, isStep := strings.Cut(j.ID, "--")
	if !isStep && j.Type != job.WorkflowType {
		return nil
	}
	all, _, err := h.workflows(ctx)
	if err != nil {
		return nil // the page is about the job
	}
	for i := range all {
		if w := &all[i]; w.ID == id && h.sees(v.user, place{w.Queue, job.WorkflowType}) {
			return &w.Ref
		}
	}
	return nil
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
	return h.changeWorkflow(ctx, v, audit.Record{Action: audit.CancelWorkflow}, "is being cancelled", func(ref millhand.Ref) (millhand.Ref, error) {
		_, err := h.client.Cancel(ctx, ref)
		return ref, err
	})
}

func (h *Handler) retryWorkflow(ctx context.Context, v *visit) (*notice, error) {
	return h.changeWorkflow(ctx, v, audit.Record{Action: audit.RetryWorkflow}, "is retried", func(ref millhand.Ref) (millhand.Ref, error) {
		return h.client.RetryWorkflow(ctx, ref)
	})
}

func (h *Handler) signalWorkflow(ctx context.Context, v *visit) (*notice, error) {
	step := v.r.PostFormValue("step")
	var payload any = map[string]string{"by": v.user.Name}
	if v.isAPI() {
		payload = rawPayload(v.r.PostFormValue(rawField))
	}
	return h.changeWorkflow(ctx, v, audit.Record{Action: audit.SignalWorkflow, Detail: "step " + step}, "is signalled", func(ref millhand.Ref) (millhand.Ref, error) {
		if err := h.mayTouch(ctx, v, ref, step); err != nil {
			return ref, err
		}
		return ref, h.client.Signal(ctx, ref, step, payload)
	})
}

// rawPayload is JSON as it came, nil if none did.
func rawPayload(text string) any {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// mayTouch refuses a step that a user may not see.
func (h *Handler) mayTouch(ctx context.Context, v *visit, ref millhand.Ref, step string) error {
	if h.opts.Visible == nil {
		return nil
	}
	w, err := h.client.GetWorkflow(ctx, ref)
	if err != nil {
		return err
	}
	for i := range w.Steps {
		if p := (place{w.Steps[i].Queue, w.Steps[i].Type}); w.Steps[i].Name == step && !h.sees(v.user, p) {
			return v.unseen(p)
		}
	}
	return nil
}

// changeWorkflow does something to a workflow if it is still as it was seen, and keeps a record of it.
func (h *Handler) changeWorkflow(ctx context.Context, v *visit, r audit.Record, past string, do func(millhand.Ref) (millhand.Ref, error)) (*notice, error) {
	ref, err := h.workflowOf(v)
	if err != nil {
		return nil, err
	}
	now, err := h.client.Get(ctx, ref) // also since a workflow is found by its id alone, and this queue is what the user sees
	if err != nil {
		return nil, err
	}
	if seen := v.r.PostFormValue("life"); seen != "" && seen != now.Life {
		return nil, queue.ErrChanged
	}
	ref.Life = now.Life
	ref, err = do(ref)
	if finished, ok := errors.AsType[*millhand.FinishedError](err); ok {
		return nil, &problem{status: http.StatusConflict, title: "Nothing was done", text: "The workflow has ended: it is " + string(finished.State) + "."}
	}
	if err != nil {
		return nil, err
	}
	r.Ref, r.Count = ref.Queue+"/"+ref.Type+"/"+ref.ID, 1
	h.record(ctx, v, r)
	n := done("Workflow %s %s.", ref.ID, past)
	n.answer = map[string]millhand.Ref{"workflow": ref}
	return n, nil
}

// stepAddress is where more is known of a step: of a workflow its own page, of a group the list of its jobs.
func (v *visit) stepAddress(s *millhand.StepInfo) string {
	switch s.Kind {
	case "workflow":
		return v.URL("/workflows/", s.Queue, "/", s.ID)
	case "group":
		terms := []filter.Term{
			{Key: filter.Queue, Values: []filter.Value{{Text: s.Queue}}},
			{Key: filter.Type, Values: []filter.Value{{Text: s.Type}}},
			{Key: filter.ID, Values: []filter.Value{{Op: filter.Prefix, Text: s.ID + "--"}}},
		}
		return v.h.base + "/jobs?" + url.Values{"filter": {(&filter.Filter{Terms: terms}).String()}}.Encode()
	}
	return v.JobURL(view.Job{Queue: s.Queue, Type: s.Type, ID: s.ID})
}
