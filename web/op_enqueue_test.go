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

func TestEnqueueAndReschedule(t *testing.T) {
	s := newSite(t, web.Options{})
	s.has(s.get("/enqueue?type=mail"), `value="mail"`, `value="default"`)
	s.has(s.post("/enqueue", url.Values{"type": {"mail"}, "queue": {"default"}, "id": {"m1"}, "payload": {`{"n":1970670598291982290}`}, "in": {"2h"}}),
		"The job m1 is enqueued", "1970670598291982290", "Reschedule…")
	page := s.get("/jobs/default/mail/m1")
	seen := s.field(page, "job")
	zone := func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "millhand_zone", Value: "Asia/Kolkata"}) }
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	if err != nil {
		t.Fatal(err)
	}
	due := time.Now().AddDate(0, 1, 0).In(kolkata).Truncate(time.Minute)
	resp, body := s.ask("POST", "/reschedule", url.Values{"job": {seen}, "at": {due.Format("2006-01-02T15:04")}}, zone)
	if resp.StatusCode != http.StatusSeeOther {
		t.Fatal(resp.Status, body)
	}
	info, err := s.client.Get(t.Context(), millhand.Ref{Queue: "default", Type: "mail", ID: "m1"})
	if err != nil || !info.RunAt.Equal(due) {
		t.Errorf("it is due at %v, %v, want %v", info.RunAt, err, due)
	}
	for _, c := range []struct {
		path string
		form url.Values
		want int
	}{
		{"/reschedule", url.Values{"job": {seen}, "in": {"1h"}}, 409}, // it was moved meanwhile
		{"/reschedule", url.Values{"job": {seen}}, 400},
		{"/reschedule", url.Values{"job": {seen}, "in": {"1h"}, "at": {"2099-12-24T18:00"}}, 400},
		{"/reschedule", url.Values{"job": {"x"}, "in": {"1h"}}, 400},
		{"/enqueue", url.Values{"type": {"mail"}, "id": {"m1"}}, 409},
		{"/enqueue", url.Values{"type": {"e mail"}}, 400},
		{"/enqueue", url.Values{"type": {"mail"}, "max_attempts": {"0"}}, 400},
		{"/enqueue", url.Values{"type": {"mail"}, "at": {"soon"}}, 400},
	} {
		if resp, body := s.ask("POST", c.path, c.form); resp.StatusCode != c.want {
			t.Errorf("POST %s %v: %s, want %d\n%s", c.path, c.form, resp.Status, c.want, body)
		}
	}
	s.shows("/activity", "reschedule", "enqueue", "default/mail/m1")
}

// Who may do nothing cannot fill the audit with what they try.
func TestRefusedTriesAreBounded(t *testing.T) {
	s := newSite(t, web.Options{Auth: byHeader})
	for range 12 {
		send(t, s.handler, "POST", "/pause", nil, as("viewer"))
	}
	if n := strings.Count(send(t, s.handler, "GET", "/activity", nil, as("admin")).Body.String(), ">refused<"); n != 5 {
		t.Errorf("%d refused tries are noted of 12, want the first 5", n)
	}
}

// A path that is cleaned up is still below the base.
func TestCleanPathsKeepTheBase(t *testing.T) {
	s := newSite(t, web.Options{Base: "/a/b"})
	for at, want := range map[string]string{
		"/a/b//queues?sort=ready": "/a/b/queues?sort=ready", "/a/b/queues/../types": "/a/b/types", "//queues": "/a/b/queues", "/a/b//evil.example.com": "/a/b/evil.example.com",
	} {
		resp, _ := s.ask("GET", at, nil)
		if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusPermanentRedirect || got != want {
			t.Errorf("GET %s: %s to %s, want %s", at, resp.Status, got, want)
		}
	}
}

// Why a job waits names nothing that whoever asks may not see.
func TestWhyOfWhatIsVisible(t *testing.T) {
	s := newSite(t, web.Options{Auth: byRole, Visible: func(u web.User, queue, typ string) bool {
		return u.Role == "admin" || queue == "default" && typ != "slow"
	}})
	s.worker()
	s.ask("POST", "/limits", url.Values{"pool": {"queue=default"}, "limit": {"1"}}, as("admin"))
	hidden := s.enqueue("slow", `{}`)
	s.until("/jobs/default/slow/"+hidden.ID, "running")
	waits := s.enqueue("bad", `{}`)
	path := "/api/v1/jobs/default/bad/" + waits.ID + "/why"
	s.shown(path, "quota_full")
	s.shown(path, hidden.ID)
	body := send(t, s.handler, "GET", path, nil, as("operator")).Body.String()
	if !strings.Contains(body, "quota_full") || strings.Contains(body, hidden.ID) || strings.Contains(body, "slow") {
		t.Errorf("an operator who does not see the type slow is told\n%s", body)
	}
}
