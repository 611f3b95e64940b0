package web_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/millhand/millhand/web"
)

// What is refused before anything is read is told programs as everything else is, and people as text.
func TestRefusalsAreJSONForPrograms(t *testing.T) {
	s := newSite(t, web.Options{Base: "/ops"})
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, c := range map[string]struct {
		method string
		query  string
		change func(*http.Request)
		status int
		code   string
	}{
		"of another origin": {"POST", "", header("Sec-Fetch-Site", "cross-site"), 403, "forbidden"},
		"by a proxy":        {"GET", "", header("X-Forwarded-For", "192.0.2.1"), 403, "forbidden"},
		"for another host":  {"GET", "", func(r *http.Request) { r.Host = "evil.example.com" }, 421, "misdirected_request"},
		"a long query":      {"GET", "?filter=" + strings.Repeat("x", 4096), func(*http.Request) {}, 414, "request_uri_too_long"},
	} {
		for _, base := range []string{"", "/ops"} {
			resp, body := s.ask(c.method, base+"/api/v1/jobs"+c.query, nil, c.change)
			var told struct{ Error struct{ Code, Text string } }
			if err := json.Unmarshal([]byte(body), &told); err != nil || resp.StatusCode != c.status || told.Error.Code != c.code || told.Error.Text == "" {
				t.Errorf("%s, below %q: %s, %v: %s; want %d %s", name, base, resp.Status, err, body, c.status, c.code)
			}
			resp, body = s.ask(c.method, base+"/jobs"+c.query, nil, c.change)
			if kind := resp.Header.Get("Content-Type"); resp.StatusCode != c.status || !strings.HasPrefix(kind, "text/plain") || strings.Contains(body, `"error"`) {
				t.Errorf("%s, a page below %q: %s %s: %s", name, base, resp.Status, kind, body)
			}
		}
	}
}

// A path says how it is asked for.
func TestOtherMethodsAreNotAllowed(t *testing.T) {
	s := newSite(t, web.Options{Base: "/ops"})
	for at, want := range map[string]string{
		"POST /api/v1/snapshot": "GET, HEAD", "DELETE /api/v1/jobs": "GET, HEAD, POST", "GET /api/v1/pauses/default": "PUT, DELETE", "PUT /queues": "GET, HEAD", "GET /pause": "POST", "PATCH /": "GET, HEAD",
	} {
		method, path, _ := strings.Cut(at, " ")
		for _, base := range []string{"", "/ops"} {
			if resp, body := s.ask(method, base+path, nil); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != want {
				t.Errorf("%s below %q: %s, Allow %q, want 405 with %q\n%s", at, base, resp.Status, resp.Header.Get("Allow"), want, body)
			}
		}
	}
	if resp, _ := s.ask("PUT", "/nothing", nil); resp.StatusCode != http.StatusNotFound || resp.Header.Get("Allow") != "" {
		t.Errorf("where there is nothing: %s", resp.Status)
	}
}

func TestActivityOfOtherDays(t *testing.T) {
	s := newSite(t, web.Options{})
	for days, want := range map[string]int{"": 200, "1": 200, "90": 200, "-1": 400, "0": 400, "3": 400, "x": 400} {
		for _, path := range []string{"/activity?days=", "/api/v1/activity?days="} {
			if resp, body := s.ask("GET", path+days, nil); resp.StatusCode != want {
				t.Errorf("%s%s: %s, want %d\n%s", path, days, resp.Status, want, body)
			}
		}
	}
}

// A name that is misspelt is not taken for paused.
func TestPauseOfWhatIsNotThere(t *testing.T) {
	s := newSite(t, web.Options{})
	s.enqueue("mail", `{}`)
	for path, want := range map[string]int{
		"/pauses/nope": 404, "/pauses/default/new": 200, "/pauses/nope/mail": 404, "/pauses/default": 200, "/pauses/default/mail": 200, "/pauses/a.b": 404,
	} {
		if resp, body := s.ask("PUT", "/api/v1"+path, nil); resp.StatusCode != want {
			t.Errorf("PUT %s: %s, want %d\n%s", path, resp.Status, want, body)
		}
	}
	page := s.get("/queues")
	if strings.Contains(page, "nope") || !strings.Contains(page, "paused by local") {
		t.Errorf("queues:\n%s", page)
	}
}
