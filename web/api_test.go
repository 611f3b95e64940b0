package web_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/web"
)

// Each route of the API is used, and each answer is as the document says.
func TestAPI(t *testing.T) {
	s := newSite(t, web.Options{Auth: byHeader})
	s.worker()
	admin := as("admin")
	m := &met{site: s, doc: readDoc(t, mustRead(t, "openapi.json")), seen: make(map[string]bool), change: admin}
	m.ops = m.doc.operations(t)
	const oneJob = " /jobs/{queue}/{type}/{id}"
	place := func(r millhand.Ref) string { return "/jobs/" + r.Queue + "/" + r.Type + "/" + r.ID }
	later := s.enqueue("mail", `{"id":1970670598291982290}`, millhand.WithDelay(time.Hour), millhand.WithMeta("customer", "42"))
	dead, gone, running := s.enqueue("bad", `{}`), s.enqueue("bad", `{}`), s.enqueue("slow", `{}`)
	s.shown("/jobs?filter=state:dead", "<b>2</b> match")
	s.shown("/jobs?filter=state:running", running.ID)
	workers, err := s.client.Workers(t.Context())
	if err != nil || len(workers) != 1 {
		t.Fatal(workers, err)
	}
	worker := "/workers/" + workers[0].ID

	for path, query := range map[string]string{
		"/snapshot": "", "/problems": "", "/queues": "?sort=ready", "/types": "", "/jobs": "?filter=state:scheduled&payload=true&n=5", "/dead/groups": "?all=yes",
		"/workers": "", "/limits": "", "/history": "?range=2h&by=queue", "/activity": "?days=1", "/autoscale": "?concurrency=4", "/openapi.json": "", "/verify": "",
	} {
		m.call("GET "+path, path+query, nil, 200)
	}
	for _, metric := range []string{"succeeded", "run_p95_s", "ready"} {
		if h := m.call("GET /history", "/history?by=queue&metric="+metric, nil, 200); h["metric"] != metric {
			t.Errorf("history of %s: %v", metric, h)
		}
	}
	m.call("GET /history", "/history?metric=nothing", nil, 400)
	m.cron()
	m.call("GET /queues/{queue}", "/queues/default", nil, 200)
	m.call("GET /queues/{queue}", "/queues/nothing", nil, 404)
	m.call("GET /types/{type}", "/types/slow", nil, 200)
	m.call("GET /workers/{worker}", worker, nil, 200)
	if tree := m.call("GET /workers/{worker}/tree", worker+"/tree", nil, 200); tree["name"] != "worker" || len(tree["children"].([]any)) == 0 {
		t.Errorf("tree: %v", tree)
	}
	m.call("GET /workers/{worker}/tree", "/workers/nobody/tree", nil, 404)
	if _, page := s.ask("GET", worker, nil, admin); !strings.Contains(page, `<th scope="row" class="d2">agent</th>`) {
		t.Errorf("the page of the worker has no tree:\n%s", page)
	}
	m.call("GET /jobs", "/jobs?filter=nonsense:x", nil, 400)
	if jobs := m.call("GET /jobs", "/jobs?filter="+later.ID, nil, 200)["jobs"].([]any); len(jobs) != 1 {
		t.Errorf("an id finds %v", jobs)
	}
	seen := m.call("GET"+oneJob, place(later), nil, 200)
	for _, r := range []millhand.Ref{later, dead, running} {
		m.call("GET"+oneJob+"", place(r), nil, 200)
		m.call("GET"+oneJob+"/why", place(r)+"/why", nil, 200)
	}
	if resp, body := s.ask("GET", "/api/v1"+place(later)+"/payload", nil, admin); body != `{"id":1970670598291982290}` {
		t.Errorf("payload: %s %s", resp.Status, body)
	}
	m.seen["GET"+oneJob+"/payload 200"] = true

	made := m.call("POST /jobs", "/jobs", map[string]any{"type": "mail", "id": "m1", "in": "2h", "payload": map[string]any{"n": json.Number("1970670598291982290")}}, 200)
	if d := m.call("GET"+oneJob, place(millhand.Ref{Queue: "default", Type: "mail", ID: "m1"}), nil, 200); made["id"] != "m1" || d["state"] != "scheduled" {
		t.Errorf("enqueued %v, is %v", made, d)
	}
	m.call("POST /jobs", "/jobs", map[string]any{"type": "mail", "id": "m1", "in": "2h", "payload": "other"}, 409)
	m.call("POST"+oneJob+"/reschedule", place(later)+"/reschedule", nil, 400)
	due := time.Now().AddDate(0, 1, 0).Truncate(time.Minute)
	m.call("POST"+oneJob+"/reschedule", place(later)+"/reschedule", map[string]any{"at": due.In(time.FixedZone("", 3600)).Format(time.RFC3339), "seq": seen["seq"], "life": seen["life"]}, 200)
	m.call("POST"+oneJob+"/reschedule", place(later)+"/reschedule", map[string]any{"in": "3h", "seq": seen["seq"], "life": seen["life"]}, 409) // it was moved
	seen = m.call("GET"+oneJob, place(later), nil, 200)
	if seen["run_at"] != due.UTC().Format(time.RFC3339) {
		t.Errorf("rescheduled to %v", seen["run_at"])
	}
	m.call("POST"+oneJob+"/run", place(later)+"/run", map[string]any{"life": "other"}, 409)
	m.call("POST"+oneJob+"/run", place(later)+"/run", map[string]any{"life": seen["life"], "seq": seen["seq"]}, 200)
	m.call("POST"+oneJob+"/run", place(later)+"/run", map[string]any{"life": seen["life"], "seq": seen["seq"]}, 409) // it has moved on
	m.call("POST"+oneJob+"/cancel", place(later)+"/cancel", map[string]any{"reason": "wrong file"}, 200)
	m.call("POST"+oneJob+"/cancel", place(later)+"/cancel", map[string]any{"why": "misspelt"}, 400)
	m.call("POST"+oneJob+"/retry", place(dead)+"/retry", nil, 200)
	m.call("POST"+oneJob+"/delete", place(gone)+"/delete", nil, 200)

	m.call("PUT /pauses/{queue}", "/pauses/default", map[string]any{"reason": "move", "for": "1h"}, 200)
	if p := m.call("GET /queues/{queue}", "/queues/default", nil, 200)["paused"].(map[string]any); p["by"] != "ada" || p["reason"] != "move" {
		t.Errorf("paused: %v", p)
	}
	m.call("DELETE /pauses/{queue}", "/pauses/default", nil, 200)
	m.call("PUT /pauses/{queue}/{type}", "/pauses/default/mail", nil, 200)
	m.call("DELETE /pauses/{queue}/{type}", "/pauses/default/mail", nil, 200)
	m.call("PUT /limits/{pool}", "/limits/slow", map[string]any{"limit": 3}, 200)
	if c := m.call("PUT /limits/{pool}", "/limits/slow", map[string]any{"limit": 2}, 200); c["was"] != 3.0 || c["limit"] != 2.0 {
		t.Errorf("limit: %v", c)
	}
	m.call("PUT /limits/{pool}", "/limits/slow", map[string]any{"limit": -1}, 400)
	m.call("POST /workers/{worker}/drain", worker+"/drain", nil, 200)
	m.call("POST /workers/{worker}/undrain", worker+"/undrain", nil, 200)

	s.shown("/jobs?filter=state:dead", "<b>1</b> match")
	meant := m.call("GET /bulk/new", "/bulk/new?do=delete&filter=state:dead", nil, 200)
	id := m.call("POST /bulk", "/bulk", map[string]any{"do": "delete", "filter": "state:dead", "total": meant["matched"], "before": meant["before"]}, 200)["id"]
	m.call("GET /bulk/{bulk}", fmt.Sprint("/bulk/", id), nil, 200)
	m.call("POST /bulk/{bulk}/stop", fmt.Sprint("/bulk/", id, "/stop"), nil, 200)
	m.call("GET /bulk/{bulk}", fmt.Sprint("/bulk/", id), nil, 200)

	m.workflows()
	live := send(t, s.handler, "GET", "/api/v1/live", nil, admin).Body.String()
	data, ok := strings.CutPrefix(live, "event: snapshot\ndata: ")
	var status any
	if err := json.Unmarshal([]byte(strings.TrimSpace(data)), &status); !ok || err != nil {
		t.Fatalf("live: %v\n%s", err, live)
	}
	snapshot := m.ops["GET /snapshot"]
	if err := m.doc.answerSchema(t, &snapshot, "200").Validate(status); err != nil {
		t.Error(err)
	}
	m.seen["GET /live 200"] = true
	for name := range m.ops {
		if !m.seen[name+" 200"] {
			t.Errorf("%s was not asked", name)
		}
	}
}

// cron uses the routes of a schedule.
func (m *met) cron() {
	entry := millhand.Cron{Name: "nightly", Schedule: "0 2 * * *", Zone: "Europe/Berlin", Args: millhand.Raw{Name: "mail", Payload: []byte(`{}`)}}
	if err := m.client.PutCron(m.Context(), entry); err != nil {
		m.Fatal(err)
	}
	m.call("POST /cron/{entry}/pause", "/cron/nightly/pause", map[string]any{"reason": "move"}, 200)
	if c := m.call("GET /cron", "/cron", nil, 200)["entries"].([]any)[0].(map[string]any); c["paused"].(map[string]any)["reason"] != "move" || c["zone"] != "Europe/Berlin" {
		m.Errorf("entry: %v", c)
	}
	m.call("POST /cron/{entry}/resume", "/cron/nightly/resume", nil, 200)
	if c := m.call("GET /cron", "/cron", nil, 200)["entries"].([]any)[0].(map[string]any); c["paused"] != nil || c["next_tick"] == nil {
		m.Errorf("entry, resumed: %v", c)
	}
	if job := m.call("POST /cron/{entry}/run", "/cron/nightly/run", nil, 200); job["type"] != "mail" || job["id"] == "" {
		m.Errorf("run: %v", job)
	}
	m.call("POST /cron/{entry}/run", "/cron/nothing/run", nil, 404)
}

// A program is told of what it may not in JSON, and has no more than pages show.
func TestAPIAndRoles(t *testing.T) {
	s := newSite(t, web.Options{
		Auth: byHeader, Redact: web.Redaction{Keys: []string{"*token*"}, Meta: []string{"email"}},
		Visible: func(u web.User, queue, _ string) bool { return u.Role != "operator" || queue == "mail" },
	})
	ref := s.enqueue("charge", `{"AuthToken":"s3cret","n":10000000000000000001}`, millhand.WithMeta("email", "a@b.c"), millhand.WithMeta("customer", "c42"))
	path := "/api/v1/jobs/default/charge/" + ref.ID
	for _, c := range []struct {
		role, path string
		want       int
		has, lacks string
	}{
		{"", "/api/v1/snapshot", 401, `"code":"unauthorized"`, ""},
		{"nobody", "/api/v1/snapshot", 403, `"code":"forbidden"`, ""},
		{"viewer", path, 200, ref.ID, "c42"},
		{"viewer", path + "/payload", 403, `"code":"forbidden"`, ""},
		{"viewer", "/api/v1/jobs?payload=true", 403, `"code":"forbidden"`, ""},
		{"admin", path, 200, `"n":10000000000000000001`, ""},
		{"admin", "/api/v1/jobs?payload=true", 200, `"customer":"c42"`, ""},
		{"operator", path, 404, `"code":"not_found"`, ""},
		{"operator", path + "/why", 404, `"code":"not_found"`, ""},
		{"operator", "/api/v1/jobs", 200, `"jobs":[]`, ref.ID},
		{"operator", "/api/v1/snapshot", 200, `"queues":[]`, "charge"},
		{"operator", "/api/v1/history?by=pair", 200, `"lines":`, "charge"},
		{"operator", "/api/v1/nothing", 404, `"code":"not_found"`, ""},
	} {
		resp, body := s.ask("GET", c.path, nil, as(c.role))
		if resp.StatusCode != c.want || !strings.Contains(body, c.has) || c.lacks != "" && strings.Contains(body, c.lacks) {
			t.Errorf("GET %s as %q: %s, want %d with %q without %q\n%s", c.path, c.role, resp.Status, c.want, c.has, c.lacks, body)
		}
		for _, secret := range []string{"s3cret", "a@b.c"} {
			if strings.Contains(body, secret) {
				t.Errorf("GET %s as %q has %s", c.path, c.role, secret)
			}
		}
	}
	resp, body := s.ask("POST", path+"/cancel", url.Values{"reason": {"a form"}}, as("admin"))
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a form was taken: %s\n%s", resp.Status, body)
	}
}

// A body that is not what it has to be is refused, whatever a part of it would do.
func TestAPIBodies(t *testing.T) {
	s := newSite(t, web.Options{Auth: byHeader})
	for name, c := range map[string]struct {
		body string
		want int
		has  string
	}{
		"a number for text":    {`{"type":5}`, 400, "type: want text"},
		"null for text":        {`{"type":"mail","id":null}`, 400, "id: want text"},
		"yes for text":         {`{"type":"mail","id":true}`, 400, "id: want text"},
		"text behind":          {`{"type":"mail"} {"id":"x"}`, 400, "something behind the object"},
		"a list":               {`["mail"]`, 400, "want an object, and not array"},
		"more than is read":    {`{"type":"mail","payload":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "at most 1048576 bytes"},
		"a number as a number": {`{"type":"mail","max_attempts":3}`, 200, `"type":"mail"`},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := s.ask("POST", "/api/v1/jobs", nil, as("admin"), func(r *http.Request) {
				r.Header.Set("Content-Type", "application/json")
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(c.body)), int64(len(c.body))
			})
			if resp.StatusCode != c.want || !strings.Contains(body, c.has) {
				t.Errorf("%s, want %d with %s\n%s", resp.Status, c.want, c.has, body)
			}
		})
	}
}

// What a program has is not sent again.
func TestAPIMarks(t *testing.T) {
	s := newSite(t, web.Options{})
	resp, _ := s.ask("GET", "/api/v1/openapi.json", nil)
	mark := resp.Header.Get("ETag")
	resp, body := s.ask("GET", "/api/v1/openapi.json", nil, func(r *http.Request) { r.Header.Set("If-None-Match", mark) })
	if mark == "" || resp.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("with the mark %s: %s, %d bytes", mark, resp.Status, len(body))
	}
}
