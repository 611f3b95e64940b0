package web_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/millhand/millhand/web"
)

// What programs ask is for those who are known, by a token, and is of all queues.
func TestWhatProgramsAsk(t *testing.T) {
	token, err := web.Token(write(t, fmt.Sprintf("prometheus:viewer:%x\nteam:team:%x\n", sha256.Sum256([]byte("right")), sha256.Sum256([]byte("other")))))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, web.Options{
		Auth: token, Roles: map[string][]web.Permission{"team": {}},
		Visible: func(u web.User, queue, _ string) bool { return u.Role != "team" || queue == "theirs" },
	})
	s.enqueue("mail", `{}`)
	bearer := func(text string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+text) }
	}
	for path, want := range map[string]string{web.MetricsPath: `millhand_queue_later{queue="default"} 0`, web.AutoscalePath: `"slots":1`} {
		for text, status := range map[string]int{"": 401, "wrong": 401, "other": 403, "right": 200} {
			resp, body := s.ask("GET", path, nil, bearer(text))
			if resp.StatusCode != status || strings.Contains(body, want) != (status == 200) {
				t.Errorf("GET %s with the token %q: %s, want %d, and %q if it is known\n%s", path, text, resp.Status, status, want, body)
			}
		}
	}
}

// Without authentication they are served as pages are: to this machine, under a name of its own.
func TestProgramsFromElsewhere(t *testing.T) {
	s := newSite(t, web.Options{})
	for _, path := range []string{web.MetricsPath, web.AutoscalePath} {
		for host, want := range map[string]int{"127.0.0.1:1": 200, "evil.example.com": 421} {
			if resp, body := s.ask("GET", path, nil, func(r *http.Request) { r.Host = host }); resp.StatusCode != want {
				t.Errorf("GET %s of Host %s: %s, want %d\n%s", path, host, resp.Status, want, body)
			}
		}
		if resp, _ := s.ask("GET", path, nil, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") }); resp.StatusCode != http.StatusForbidden {
			t.Errorf("GET %s through a proxy: %s, want 403", path, resp.Status)
		}
	}
}
