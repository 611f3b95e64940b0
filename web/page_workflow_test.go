package web_test

import (
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
	s.has(s.get("/workflows"), `href="/workflows/mail/import"`, "&lt;b&gt;import&lt;/b&gt;", "0/4")
	page := s.get("/workflows/mail/import")
	s.has(page,
		`<g class="step g-ready"><title>load: ready</title>`, `<title>publish: held, waits for load; approved</title>`, "waits for a signal",
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
