package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/web"
)

// start starts a workflow.
func (s *site) start(w *millhand.Workflow) millhand.Ref {
	s.Helper()
	ref, err := s.client.Start(s.Context(), w)
	if err != nil {
		s.Fatal(err)
	}
	return ref
}

// workflows uses the routes of workflows.
func (m *met) workflows() {
	m.Helper()
	w := millhand.NewWorkflow("import", millhand.WorkflowConfig{ID: "w1", Queue: "default"})
	load := w.Step("load", millhand.Raw{Name: "mail"})
	w.Step("publish", millhand.Raw{Name: "mail"}, millhand.After(load, w.Signal("approved")))
	m.start(w)
	bad := millhand.NewWorkflow("broken", millhand.WorkflowConfig{ID: "w2", Queue: "default"})
	bad.Step("fail", millhand.Raw{Name: "bad"})
	failed := m.start(bad)
	if _, err := m.client.Await(m.Context(), failed); err == nil {
		m.Fatal("the workflow with a step that fails has succeeded")
	}
	const one = " /workflows/{queue}/{id}"
	first := m.call("GET /workflows", "/workflows?n=1", nil, 200)
	if all := first["workflows"].([]any); len(all) != 1 || all[0].(map[string]any)["id"] != "w2" {
		m.Errorf("the newest: %v", all)
	}
	if rest := m.call("GET /workflows", "/workflows?"+url.Values{"cursor": {fmt.Sprint(first["cursor"])}}.Encode(), nil, 200); len(rest["workflows"].([]any)) != 1 || rest["cursor"] != nil {
		m.Errorf("the rest: %v", rest)
	}
	if running := m.call("GET /workflows", "/workflows?phase=running&name=IMP", nil, 200)["workflows"].([]any); len(running) != 1 {
		m.Errorf("those that run: %v", running)
	}
	m.call("GET /workflows", "/workflows?phase=walking", nil, 400)
	m.call("GET /workflows", "/workflows?cursor=x", nil, 400)
	seen := m.call("GET"+one, "/workflows/default/w1", nil, 200)
	if steps := seen["steps"].([]any); len(steps) != 3 || seen["phase"] != "running" {
		m.Errorf("workflow: %v", seen)
	}
	m.call("GET"+one, "/workflows/default/nothing", nil, 404)
	m.call("GET"+one, "/workflows/mail/w1", nil, 404) // it is in another queue
	m.call("POST"+one+"/signal", "/workflows/default/w1/signal", map[string]any{"step": "load"}, 400)
	m.call("POST"+one+"/signal", "/workflows/default/w1/signal", map[string]any{"step": "approved", "life": failed.Life}, 409)
	m.call("POST"+one+"/signal", "/workflows/default/w1/signal", map[string]any{"step": "approved", "life": seen["life"], "payload": map[string]any{"by": "ada"}}, 200)
	m.call("POST"+one+"/retry", "/workflows/default/w1/retry", nil, 400) // it goes on
	retried := m.call("POST"+one+"/retry", "/workflows/default/w2/retry", map[string]any{"life": failed.Life}, 200)
	if life := retried["workflow"].(map[string]any)["life"]; life == failed.Life || life == nil {
		m.Errorf("retried: %v", retried)
	}
	m.call("POST"+one+"/cancel", "/workflows/default/w1/cancel", map[string]any{"life": "other"}, 409)
	m.call("POST"+one+"/cancel", "/workflows/default/w1/cancel", map[string]any{"life": seen["life"]}, 200)
}

// Programs are told of workflows what pages show to the same user.
func TestWorkflowsToldByRole(t *testing.T) {
	s := newSite(t, web.Options{
		Auth:    byHeader,
		Visible: func(u web.User, queue, _ string) bool { return u.Role != "operator" || queue != "secret" },
	})
	mux := millhand.NewMux()
	mux.HandleFunc("charge", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New("card 4111"))
	})
	s.runs(mux, "mail", "secret")
	for _, queue := range []string{"mail", "secret"} {
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "of-" + queue, Queue: queue})
		hidden := w.Step("hidden-one", millhand.Raw{Name: "charge"}, millhand.Enqueue(millhand.WithQueue("secret")))
		w.Step("shown", millhand.Raw{Name: "other"}, millhand.After(hidden))
		if _, err := s.client.Await(t.Context(), s.start(w)); err == nil {
			t.Fatal("a workflow succeeded")
		}
	}
	for _, c := range []struct {
		role, method, path string
		want               int
		has, lacks         string
	}{
		{"", "GET", "/workflows", 401, `"unauthorized"`, "of-mail"},
		{"viewer", "GET", "/workflows", 200, `"id":"of-secret"`, ""},
		{"viewer", "GET", "/workflows/mail/of-mail", 200, `"name":"hidden-one"`, "4111"},
		{"admin", "GET", "/workflows/mail/of-mail", 200, "step hidden-one failed", ""},
		{"operator", "GET", "/workflows", 200, `"id":"of-mail"`, "of-secret"},
		{"operator", "GET", "/workflows/mail/of-mail", 200, `"name":"shown"`, "hidden-one"},
		{"operator", "GET", "/workflows/secret/of-secret", 404, `"not_found"`, ""},
		{"operator", "GET", "/workflows/mail/of-secret", 404, `"not_found"`, ""},
		{"viewer", "POST", "/workflows/mail/of-mail/retry", 403, `"forbidden"`, ""},
		{"operator", "POST", "/workflows/secret/of-secret/retry", 404, `"not_found"`, ""},
		{"operator", "POST", "/workflows/mail/of-secret/retry", 404, `"not_found"`, ""}, // which is not in this queue
		{"operator", "POST", "/workflows/mail/of-secret/cancel", 404, `"not_found"`, ""},
		{"operator", "POST", "/workflows/mail/of-mail/signal", 403, `"forbidden"`, ""},
	} {
		resp, body := s.ask(c.method, "/api/v1"+c.path, nil, as(c.role), func(r *http.Request) { r.Header.Del("Content-Type") })
		if resp.StatusCode != c.want || !strings.Contains(body, c.has) || c.lacks != "" && strings.Contains(body, c.lacks) {
			t.Errorf("%s %s as %q: %s, want %d with %q without %q\n%s", c.method, c.path, c.role, resp.Status, c.want, c.has, c.lacks, body)
		}
	}
}
