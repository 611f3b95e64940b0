package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/web"
)

// Nothing of a queue that somebody may not see is on any page of theirs, and to who may see everything
// nothing is left out.
func TestWhatIsNotVisible(t *testing.T) {
	s := newSite(t, web.Options{Auth: byRole, Visible: func(u web.User, queue, _ string) bool { return u.Role == "admin" || queue == "mail" }})
	s.worker()
	s.enqueue("bad", `{}`, millhand.WithQueue("mail"))
	hidden := s.enqueue("slow", `{}`)
	s.until("/jobs/default/slow/"+hidden.ID, "running")
	admin := as("admin")
	s.ask("POST", "/limits", url.Values{"pool": {"slow"}, "limit": {"3"}}, admin)
	s.ask("POST", "/limits", url.Values{"pool": {"queue=default"}, "limit": {"3"}}, admin)
	s.ask("POST", "/pause", url.Values{"queue": {"default"}, "type": {"slow"}, "for": {"1h"}, "reason": {"why"}}, admin)
	s.shown("/limits", "queue=default")
	s.shown("/activity", "default/slow")
	workers, err := s.client.Workers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.shown("/workers", workers[0].ID)
	for _, path := range []string{"/", "/queues", "/types", "/jobs", "/dead", "/dead?all=yes", "/workers", "/limits", "/cron", "/activity", "/broker", "/settings"} {
		for _, at := range []string{path, "/live" + path} {
			body := send(t, s.handler, "GET", at, nil, as("operator")).Body.String()
			for _, name := range []string{"/slow", ">slow<", "queue=default", ">default<", "queue-default", "queue default"} {
				if strings.Contains(body, name) {
					i := strings.Index(body, name)
					t.Errorf("GET %s shows %s: …%s…", at, name, body[max(0, i-120):min(len(body), i+60)])
				}
			}
		}
	}
	for path, want := range map[string]int{"/types/slow": 404, "/queues/default": 404, "/workers/" + workers[0].ID: 404, "/jobs/default/slow/" + hidden.ID: 404} {
		if resp := send(t, s.handler, "GET", path, nil, as("operator")); resp.Code != want {
			t.Errorf("GET %s: %d, want %d", path, resp.Code, want)
		}
	}
	if resp := send(t, s.handler, "POST", "/workers/"+workers[0].ID+"/drain", nil, as("operator")); resp.Code != 404 {
		t.Errorf("a worker of what cannot be seen was drained: %d", resp.Code)
	}
}

// byRole is an authentication for tests, in which each role is a person.
func byRole(r *http.Request) (web.User, error) {
	u, err := byHeader(r)
	u.Name = u.Role
	return u, err
}

// shown waits until a page of an admin says something.
func (s *site) shown(path, text string) {
	s.Helper()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	hiddenline := time.Now().Add(20 * time.Second)
	for {
		_, page := s.ask("GET", path, nil, as("admin"))
		if strings.Contains(page, text) {
			return
		}
		if time.Now().After(hiddenline) {
			s.Fatalf("%s lacks %q:\n%s", path, text, page)
		}
		<-poll.C
	}
}
