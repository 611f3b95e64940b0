package web_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/web"
)

func as(role string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("X-Role", role) }
}

// byHeader is an authentication for tests.
func byHeader(r *http.Request) (web.User, error) {
	if role := r.Header.Get("X-Role"); role != "" {
		return web.User{Name: "ada", Role: role}, nil
	}
	return web.User{}, &web.ChallengeError{Challenge: "Test", Text: "who are you?"}
}

func TestRolesAndWhatTheySee(t *testing.T) {
	s := newSite(t, web.Options{
		Auth: byHeader, Redact: web.Redaction{Keys: []string{"*token*"}, Types: map[string][]string{"charge": {"/card/number"}}, Meta: []string{"email"}},
		Visible: func(u web.User, queue, _ string) bool { return u.Role != "operator" || queue == "mail" },
	})
	ref := s.enqueue("charge", `{"card":{"number":4111,"brand":"v"},"AuthToken":["s3cret"],"n":10000000000000000001}`, millhand.WithMeta("email", "a@b.c"))
	path := "/jobs/default/charge/" + ref.ID
	for _, c := range []struct {
		role, method, path string
		form               url.Values
		want               int
	}{
		{"", "GET", "/", nil, 401},
		{"nobody", "GET", "/", nil, 403},
		{"viewer", "GET", "/queues", nil, 200},
		{"viewer", "GET", path, nil, 200},
		{"viewer", "GET", path + "/payload", nil, 403},
		{"viewer", "GET", "/jobs?filter=payload:x", nil, 403},
		{"viewer", "POST", "/pause", url.Values{"queue": {"default"}, "for": {"1h"}}, 403},
		{"viewer", "POST", "/jobs", url.Values{"do": {"cancel"}}, 403},
		{"viewer", "POST", "/limits", url.Values{"pool": {"charge"}, "limit": {"1"}}, 403},
		{"operator", "POST", "/limits", url.Values{"pool": {"charge"}, "limit": {"1"}}, 403},
		{"operator", "GET", path, nil, 404},
		{"operator", "GET", "/queues/default", nil, 404},
		{"operator", "POST", "/pause", url.Values{"queue": {"default"}, "for": {"1h"}}, 404},
		{"admin", "GET", "/jobs?filter=payload:x", nil, 403},
		{"admin", "GET", "/jobs?filter=meta.email:a", nil, 403},
		{"admin", "GET", path, nil, 200},
	} {
		resp, body := s.ask(c.method, c.path, c.form, as(c.role))
		if resp.StatusCode != c.want {
			t.Errorf("%s %s as %q: %s, want %d\n%s", c.method, c.path, c.role, resp.Status, c.want, body)
		}
		for _, secret := range []string{"4111", "s3cret", "a@b.c"} {
			if strings.Contains(body, secret) {
				t.Errorf("%s %s as %q shows %s", c.method, c.path, c.role, secret)
			}
		}
		if c.role == "viewer" && strings.Contains(body, "brand&#34;") {
			t.Errorf("%s shows a payload to a viewer", c.path)
		}
	}
	_, body := s.ask("GET", path+"/payload", nil, as("admin"))
	if want := `{"card":{"number":"[redacted]","brand":"v"},"AuthToken":"[redacted]","n":10000000000000000001}`; body != want {
		t.Errorf("payload = %s, want %s", body, want)
	}
}

func TestWhoIsServed(t *testing.T) {
	s := newSite(t, web.Options{})
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	for name, want := range map[string]int{"localhost": 200, "127.0.0.1:1": 200, "[::1]:80": 200, "evil.example.com": 421} {
		if resp, _ := s.ask("GET", "/settings", nil, host(name)); resp.StatusCode != want {
			t.Errorf("Host %s: %s, want %d", name, resp.Status, want)
		}
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		resp, body := s.ask("GET", "/settings", nil, func(r *http.Request) { r.Header.Set(name, "192.0.2.1") })
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(body, name) || !strings.Contains(body, "--web-auth") {
			t.Errorf("through a proxy that sets %s: %s, want 403 with what to do\n%s", name, resp.Status, body)
		}
	}
	resp, _ := s.ask("POST", "/pause", url.Values{"queue": {"default"}}, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a form of elsewhere: %s, want 403", resp.Status)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("Content-Security-Policy = %s", csp)
	}
	resp, _ = s.ask("POST", "/settings", url.Values{"theme": {"dark"}, "back": {"//evil.example.com"}})
	if got := resp.Header.Get("Location"); got != "/" {
		t.Errorf("a form sends back to %s", got)
	}
}

func TestBehindAProxyThatIsNamed(t *testing.T) {
	s := newSite(t, web.Options{Origin: "https://jobs.example.com"})
	for host, want := range map[string]int{"127.0.0.1:8222": 200, "jobs.example.com": 200, "evil.example.com": 421} {
		resp, _ := s.ask("GET", "/settings", nil, func(r *http.Request) {
			r.Host = host
			r.Header.Set("X-Forwarded-For", "192.0.2.1")
		})
		if resp.StatusCode != want {
			t.Errorf("Host %s: %s, want %d", host, resp.Status, want)
		}
	}
}

func TestReadOnlyAndBase(t *testing.T) {
	s := newSite(t, web.Options{ReadOnly: true, Base: "/a/b"})
	s.enqueue("mail", `{}`)
	s.shows("/a/b/queues", `href="/a/b/queues/default"`)
	page := s.get("/queues") // behind a proxy that strips the base
	s.has(page, `href="/a/b/queues/default"`)
	if strings.Contains(page, "Pause…") {
		t.Error("an operation is drawn that nobody may do")
	}
	if resp, _ := s.ask("POST", "/a/b/pause", url.Values{"queue": {"default"}, "for": {"0s"}}); resp.StatusCode != http.StatusForbidden {
		t.Errorf("pause: %s, want 403", resp.Status)
	}
	if _, err := web.New(s.client, web.Options{Base: "a b"}); err == nil {
		t.Error("a base that is no path was taken")
	}
	if _, err := web.New(s.client, web.Options{Roles: map[string][]web.Permission{"x": {"fly"}}}); err == nil || errors.Is(err, http.ErrServerClosed) {
		t.Error("a permission was taken that there is not")
	}
}
