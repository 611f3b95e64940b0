package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/web"
)

// A workflow's page has its graph, and what can be done to it.
func TestWorkflowPage(t *testing.T) {
	s := newSite(t, web.Options{})
	s.has(s.get("/workflows"), "There is no workflow.")
	w := millhand.NewWorkflow("<b>import</b>", millhand.WorkflowConfig{ID: "import", Queue: "mail"})
	a := w.Step("load", millhand.Raw{Name: "load"}, millhand.Undo(millhand.Raw{Name: "unload"}))
	approved := w.Signal("approved")
	w.Step("publish", millhand.Raw{Name: "publish"}, millhand.After(a), millhand.AfterAny(approved), millhand.Optional())
	if _, err := s.client.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	s.shown("/workflows", `href="/workflows/mail/import"`) // those who look within two seconds see the same
	s.has(s.get("/workflows"), "&lt;b&gt;import&lt;/b&gt;", "0 of 4")
	page := s.get("/workflows/mail/import")
	s.has(page,
		`class="step g-ready"><title>load: ready</title>`, `<title>publish: held, waits for load; approved</title>`, "waits for a signal",
		`class="edge undo"`, `href="/jobs/mail/load/import--load"`, "Cancel all of it", "Signal approved")
	s.has(s.post("/workflows/mail/import/signal", url.Values{"step": {"approved"}, "back": {"/workflows/mail/import"}}), "Workflow import is signalled.")
	if resp, _ := s.ask(http.MethodPost, "/workflows/mail/import/signal", url.Values{"step": {"load"}}); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a step that is no signal is signalled: %s", resp.Status)
	}
	if resp, _ := s.ask(http.MethodPost, "/workflows/mail/import/retry", nil); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("one that goes on is retried: %s", resp.Status)
	}
	s.has(s.post("/workflows/mail/import/cancel", url.Values{"back": {"/workflows/mail/import"}}), "Workflow import is being cancelled.")
	if resp, _ := s.ask(http.MethodGet, "/workflows/mail/nothing", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a workflow that is not there: %s", resp.Status)
	}
	s.has(s.get("/activity"), "cancel_workflow", "signal_workflow")
}

// Who may not see a queue does not see its workflows, and of others not the steps in it.
func TestWorkflowsThatAreVisible(t *testing.T) {
	s := newSite(t, web.Options{Visible: func(_ web.User, queue, _ string) bool { return queue != "secret" }})
	for _, queue := range []string{"secret", "mail"} {
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "in-" + queue, Queue: queue})
		w.Step("b", millhand.Raw{Name: "x"}, millhand.After(w.Step("hidden-one", millhand.Raw{Name: "x"}, millhand.Enqueue(millhand.WithQueue("secret")))))
		w.Signal("unseen", millhand.Enqueue(millhand.WithQueue("secret")))
		if _, err := s.client.Start(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	for path, hidden := range map[string]string{"/workflows": "in-secret", "/workflows/mail/in-mail": "hidden-one"} {
		if page := s.get(path); strings.Contains(page, hidden) || !strings.Contains(page, "in-mail") {
			t.Errorf("%s shows %s, or nothing:\n%s", path, hidden, page)
		}
	}
	if resp, _ := s.ask(http.MethodGet, "/workflows/secret/in-secret", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a workflow in a hidden queue: %s", resp.Status)
	}
	if resp, _ := s.ask(http.MethodPost, "/workflows/mail/in-mail/signal", url.Values{"step": {"unseen"}}); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a signal of a hidden queue is sent: %s", resp.Status)
	}
}

// Many steps are drawn as boxes of those that are alike, each of which leads to them, and the table has some of them.
func TestManyStepsOfAWorkflow(t *testing.T) {
	const many = 300
	s := newSite(t, web.Options{})
	w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "wide", Queue: "mail"})
	list := w.Step("list", millhand.Raw{Name: "list"})
	var all []*millhand.Step
	for i := range many {
		all = append(all, w.Step(fmt.Sprintf("convert-%d", i), millhand.Raw{Name: "convert"}, millhand.After(list), millhand.Undo(millhand.Raw{Name: "remove"})))
	}
	w.Step("publish", millhand.Raw{Name: "publish"}, millhand.After(all...))
	s.start(w)
	page := s.get("/workflows/mail/wide")
	s.has(page,
		`<title>list × 1, level 1: 1 ready</title>`, `<title>convert × 300, level 2: 300 held</title>`, `<title>publish × 1, level 3: 1 held</title>`,
		`<title>undo: remove × 300, level 4: 300 held</title>`, `href="/workflows/mail/wide?kind=convert&amp;level=2#steps"`,
		"<b>602</b> of 602 steps", `href="/workflows/mail/wide?from=50#steps"`)
	if boxes, rows := strings.Count(page, `class="step `), strings.Count(page, `<tr id="s-`); boxes != 4 || rows != 50 {
		t.Errorf("%d boxes and %d rows, want 4 and 50", boxes, rows)
	}
	s.has(s.get("/workflows/mail/wide?kind=convert&level=2&from=250"), "<b>300</b> of 602 steps", `id="s-convert-299"`)
	s.has(s.get("/workflows/mail/wide?level=3"), "convert-0, convert-1, convert-2, convert-3, convert-4 and 295 more")
	s.has(s.get("/workflows/mail/wide?state=ready"), "<b>1</b> of 602 steps", `id="s-list"`)
	s.has(s.get("/workflows/mail/wide?state=failed"), "No step is one of these.")
	for _, query := range []string{"level=x", "level=0", "level=3-1", "from=-1"} {
		if resp, _ := s.ask(http.MethodGet, "/workflows/mail/wide?"+query, nil); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", query, resp.Status)
		}
	}
}

// However long a chain of steps is, it is drawn on some boxes.
func TestLongWorkflow(t *testing.T) {
	const long = 450
	s := newSite(t, web.Options{})
	w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "long", Queue: "mail"})
	var last []millhand.StepOption
	for i := range long {
		last = []millhand.StepOption{millhand.After(w.Step(fmt.Sprint("s", i), millhand.Raw{Name: "work"}, last...))}
	}
	s.start(w)
	page := s.get("/workflows/mail/long")
	s.has(page, `<title>work × 4, level 1-4: 1 ready, 3 held</title>`, `<title>work × 2, level 449-452: 2 held</title>`)
	if boxes, edges := strings.Count(page, `class="step `), strings.Count(page, `class="edge `); boxes != 113 || edges != 112 {
		t.Errorf("%d boxes and %d lines, want 113 and 112", boxes, edges)
	}
	s.has(s.get("/workflows/mail/long?level=449-452"), "<b>2</b> of 450 steps", `id="s-s449"`)
}
