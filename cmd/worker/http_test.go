package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/configfile"
)

// post runs a job against a server that answers with answer.
func post(t *testing.T, answer http.HandlerFunc, headers map[string]string, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return httpHandler(t, httpConfig{URL: s.URL + "/import?key=secret", Headers: headers})(t.Context(), j)
}

func httpHandler(t *testing.T, cfg httpConfig) millhand.HandlerFunc {
	t.Helper()
	h, err := newHTTPType(cfg, newTrouble(slog.New(slog.NewTextHandler(t.Output(), nil))))
	if err != nil {
		t.Fatal(err)
	}
	return h.handle
}

func TestHTTPRequest(t *testing.T) {
	t.Setenv("IMPORT_TOKEN", "Bearer 42")
	var got http.Header
	var body, method, host string
	job := newJob(`{"a": 1}`)
	job.Tick = time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)
	result, err := post(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body, method, host = r.Header, string(b), r.Method, r.Host
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "created\n")
	}, map[string]string{
		"authorization": "env:IMPORT_TOKEN", "x-plain": "y", "host": "import.example",
		"millhand-id": "not this", "Idempotency-Key": "nor this",
	}, job)
	if err != nil || string(result) != "created\n" {
		t.Errorf("result = %q, %v", result, err)
	}
	if method != http.MethodPost || body != `{"a": 1}` || host != "import.example" {
		t.Errorf("got %s of %q to %s", method, body, host)
	}
	want := map[string]string{
		"Authorization": "Bearer 42", "X-Plain": "y", "Content-Type": "application/json", "Idempotency-Key": "id-1",
		"Millhand-Id": "id-1", "Millhand-Type": "email", "Millhand-Queue": "critical", "Millhand-Attempt": "3", "Millhand-Tick": "2026-03-29T01:00:00Z",
		"Millhand-Meta-Tenant-Id": "a b", "Millhand-Meta-Region": "eu", "User-Agent": "millhand",
		"Traceparent": traceParent, "Tracestate": "vendor=1",
	}
	for name, value := range want {
		if diff := cmp.Diff([]string{value}, got.Values(name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A job without a trace, or with one that HTTP cannot carry, is posted all the same.
func TestHTTPWithoutATrace(t *testing.T) {
	t.Parallel()
	for _, trace := range []map[string]string{
		nil, {"traceparent": "00-\x01-01", "tracestate": "vendor=1"}, {"traceparent": "", "tracestate": "vendor=1"}, {"tracestate": "vendor=1"},
	} {
		j := newJob("{}")
		j.Trace = trace
		got, err := post(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%q %q", r.Header.Values("traceparent"), r.Header.Values("tracestate"))
		}, nil, j)
		if err != nil || string(got) != "[] []" {
			t.Errorf("with the trace %q: %s, %v", trace, got, err)
		}
	}
}

func TestHTTPContentType(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ payload, configured, want string }{
		{`[1]`, "", "application/json"},
		{"", "", "application/octet-stream"},
		{"\xff", "", "application/octet-stream"},
		{"\"\xff\"", "", "application/octet-stream"},
		{"a,b", "text/csv", "text/csv"},
	} {
		headers := map[string]string{}
		if tt.configured != "" {
			headers["content-type"] = tt.configured
		}
		got, err := post(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Header.Get("Content-Type"))
		}, headers, newJob(tt.payload))
		if err != nil || string(got) != tt.want {
			t.Errorf("payload %q: Content-Type = %q, %v, want %q", tt.payload, got, err, tt.want)
		}
	}
}

func TestHTTPAnswers(t *testing.T) {
	t.Parallel()
	const (
		success = "<nil>"
		retried = "an error as any other"
		later   = "*job.LaterError"
		final   = "*job.PermanentError"
	)
	for _, tt := range []struct {
		code       int
		retryAfter string
		kind       string
	}{
		{code: 200, kind: success},
		{code: 202, kind: success},
		{code: 204, kind: success},
		{code: 302, kind: retried},
		{code: 304, kind: retried},
		{code: 400, kind: final},
		{code: 404, kind: final},
		{code: 408, kind: retried},
		{code: 408, retryAfter: "7", kind: later},
		{code: 425, kind: retried},
		{code: 425, retryAfter: "7", kind: later},
		{code: 409, kind: final},
		{code: 429, kind: retried},
		{code: 429, retryAfter: "7", kind: later},
		{code: 500, kind: retried},
		{code: 502, kind: retried},
		{code: 500, retryAfter: "7", kind: retried},
		{code: 503, kind: retried},
		{code: 503, retryAfter: "7", kind: later},
		{code: 503, retryAfter: "soon", kind: retried},
		{code: 503, retryAfter: time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), kind: later},
		{code: 503, retryAfter: time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), kind: retried},
	} {
		_, err := post(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere?key=secret")
			w.Header().Set("Retry-After", tt.retryAfter)
			w.WriteHeader(tt.code)
			if tt.code >= 400 {
				_, _ = io.WriteString(w, "the reason "+strings.Repeat("x", 10_000))
			}
		}, nil, newJob("{}"))
		kind := typeOf(err)
		if kind == "*fmt.wrapError" || kind == "*errors.errorString" {
			kind = retried
		}
		if kind != tt.kind {
			t.Errorf("%d, Retry-After %q: error is %s, want %s", tt.code, tt.retryAfter, typeOf(err), tt.kind)
		}
		if err == nil {
			continue
		}
		text := err.Error()
		if !strings.Contains(text, fmt.Sprintf("/import: %d %s", tt.code, http.StatusText(tt.code))) || strings.Contains(text, "secret") || len(text) > 2*maxErrorBody {
			t.Errorf("%d: text = %q", tt.code, text)
		}
		if tt.code >= 400 && !strings.Contains(text, ": the reason") {
			t.Errorf("%d: text = %q, want the head of the body", tt.code, text)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, "-5": 0, "1.5": 0,
		"86400": 24 * time.Hour, "999999999": 24 * time.Hour, "99999999999999999999": 24 * time.Hour,
		"Sun, 22 Nov 2099 15:00:30 GMT": 24 * time.Hour,
		"Sun, 22 Nov 2026 15:00:30 GMT": 30 * time.Second,
		"Sun, 22 Nov 2026 14:59:30 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", value, got, want)
		}
	}
}

func TestHTTPResultOfOneMebibyteAndMore(t *testing.T) {
	t.Parallel()
	for extra := range 2 {
		got, err := post(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, maxHTTPResult+extra))
		}, nil, newJob("{}"))
		if extra == 0 && (err != nil || len(got) != maxHTTPResult) {
			t.Errorf("1 MiB: %d bytes, %v", len(got), err)
		}
		if extra > 0 && !permanent(err) {
			t.Errorf("more than 1 MiB: %d bytes, %v", len(got), err)
		}
	}
}

// Every way of getting no answer is retried, and its text shows no query.
func TestHTTPWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	refused := httptest.NewServer(http.NotFoundHandler())
	refused.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer broken.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	short := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half")
	}))
	defer short.Close()
	for name, base := range map[string]string{
		"refused": refused.URL, "broken": broken.URL, "silent": "http://" + silent.Addr().String(), "short": short.URL,
	} {
		h := httpHandler(t, httpConfig{URL: base + "/?key=secret"})
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if name == "silent" {
			ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
		}
		got, err := h(ctx, newJob("{}"))
		cancel()
		if err == nil || strings.Contains(typeOf(err), "millhand") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %q, %#v, want an error to retry", name, got, err)
		}
		if name == "silent" && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: err = %v, want the context's", name, err)
		}
	}
}

// A redirect that keeps the POST is followed, with secrets for the configured host only.
func TestHTTPRedirects(t *testing.T) {
	t.Parallel()
	target := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s %q %s", r.Method, b, r.Header.Get("Idempotency-Key"), r.Header.Get("X-Api-Key"), r.Header.Get("Content-Type"))
	}
	other := httptest.NewServer(http.HandlerFunc(target))
	defer other.Close()
	otherHost := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	for _, tt := range []struct {
		name string
		code int
		to   string // default: the same server
		want string // empty: an error
	}{
		{name: "307", code: 307, want: `POST {} id-1 "secret" application/json`},
		{name: "308", code: 308, want: `POST {} id-1 "secret" application/json`},
		{name: "other host", code: 307, to: otherHost, want: `POST {} id-1 "" application/json`},
		{name: "other port", code: 307, to: other.URL, want: `POST {} id-1 "" application/json`},
		{name: "301", code: 301},
		{name: "302", code: 302},
		{name: "303", code: 303},
	} {
		mux := http.NewServeMux()
		mux.HandleFunc("/target", target)
		mux.HandleFunc("/import", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, tt.to+"/target", tt.code)
		})
		got, err := post(t, mux.ServeHTTP, map[string]string{"X-Api-Key": "secret"}, newJob("{}"))
		if string(got) != tt.want || (err == nil) != (tt.want != "") || permanent(err) {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
	loops := 0
	_, err := post(t, func(w http.ResponseWriter, r *http.Request) {
		loops++
		http.Redirect(w, r, "/import", http.StatusTemporaryRedirect)
	}, nil, newJob("{}"))
	if err == nil || loops != maxRedirects+1 {
		t.Errorf("redirect loop: %d requests, %v", loops, err)
	}
}

func TestSameServer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"http://a/x", "http://a/y", true},
		{"http://a/x", "http://a:80/y", true},
		{"https://a:443/x", "https://a/y", true},
		{"http://a/x", "https://a/y", true},
		{"http://a/x", "https://a:8443/y", false},
		{"http://a:8080/x", "https://a/y", false},
		{"http://a:8080/x", "http://a:8081/y", false},
		{"https://a/x", "http://a/y", false},
		{"http://a/x", "http://b/x", false},
		{"http://[::1]:1/x", "http://[::1]:1/y", true},
	} {
		from, err := url.Parse(tt.from)
		if err != nil {
			t.Fatal(err)
		}
		to, err := url.Parse(tt.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := sameServer(from, to); got != tt.want {
			t.Errorf("sameServer(%s, %s) = %v", tt.from, tt.to, got)
		}
	}
}

// With redirects: false an answer decides nothing of where a job's payload goes.
func TestHTTPRedirectsTurnedOff(t *testing.T) {
	t.Parallel()
	reached := false
	mux := http.NewServeMux()
	mux.HandleFunc("/target", func(http.ResponseWriter, *http.Request) { reached = true })
	mux.HandleFunc("/import", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/target?key=secret", http.StatusTemporaryRedirect)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	_, err := httpHandler(t, httpConfig{URL: s.URL + "/import", Redirects: new(configfile.Boolean)})(t.Context(), newJob("{}"))
	if err == nil || permanent(err) || reached || !strings.HasSuffix(err.Error(), ": not followed to "+s.URL+"/target") {
		t.Errorf("err = %v, followed: %v, want a retry that says where it did not go", err, reached)
	}
}

// Whatever an answer repeats, and whatever the URL looks like, no secret is in an error.
func TestHTTPErrorsWithoutSecrets(t *testing.T) {
	t.Setenv("IMPORT_TOKEN", "Bearer hunter2")
	echo := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, "bad token hunter2 in %q", r.Header.Get("Authorization"))
	}
	_, err := post(t, echo, map[string]string{"Authorization": "env:IMPORT_TOKEN"}, newJob("{}"))
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "bad token [secret] in") {
		t.Errorf("err = %v", err)
	}
	for _, u := range []string{
		"ftp://user:hunter2@x/", "http://user:hunter2@x:port/", "http://user:hunter2/3@x/", "http://user:hunter2#3@x/",
		"http://user:hun ter2@x/", "user:hunter2@x/", "//user:hunter2@x/", "http://user:hunter2@/", "http://user:%hunter2@x/",
		"http:user:hunter2@x", "http://[::1?key=hunter2", "ftp://x/?key=hunter2", "http://user:hunter2@x\x00/",
	} {
		_, err := newHTTPType(httpConfig{URL: u}, nil)
		if err == nil || strings.Contains(err.Error(), "hun") || !strings.HasPrefix(err.Error(), "http: url ") {
			t.Errorf("%s: err = %v, want one that says what is wrong and shows no secret", u, err)
		}
	}
	all := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		user, password, _ := r.BasicAuth()
		_, _ = fmt.Fprint(w, "no ", user, " ", password, " ", r.Header.Get("Authorization"), " ", r.URL, " ", r.URL.Query().Get("key"), " ", r.Header.Get("X-Api-Key"))
	}))
	defer all.Close()
	u := strings.Replace(all.URL, "http://", "http://user:hunt%2Fer2@", 1) + "/in?v=2&key=hunter%203"
	_, err = httpHandler(t, httpConfig{URL: u, Headers: map[string]string{"X-Api-Key": "hunter4", "Accept": "text/plain"}})(t.Context(), newJob("{}"))
	if err == nil || strings.Contains(err.Error(), "hunt") || strings.Contains(err.Error(), "dXNlcj") || !strings.Contains(err.Error(), "no user [secret]") {
		t.Errorf("what the configuration has is repeated: %v", err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Close()
	u = strings.Replace(s.URL, "http://", "http://user:hunter2@", 1) + "/?key=hunter2"
	_, err = httpHandler(t, httpConfig{URL: u})(t.Context(), newJob("{}"))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("refused: %v", err)
	}
}

func TestHTTPConfiguration(t *testing.T) {
	t.Setenv("MILLHAND_TEST_EMPTY", "")
	for name, cfg := range map[string]httpConfig{
		"no URL":           {},
		"no host":          {URL: "http:///x"},
		"no scheme":        {URL: "localhost:9000/import"},
		"other scheme":     {URL: "ftp://localhost/"},
		"no URL at all":    {URL: "http://[::1"},
		"impossible port":  {URL: "http://localhost:99999/"},
		"port 0":           {URL: "http://localhost:0/"},
		"missing variable": {URL: "http://localhost/", Headers: map[string]string{"Authorization": "env:MILLHAND_TEST_UNSET"}},
		"empty variable":   {URL: "http://localhost/", Headers: map[string]string{"Authorization": "env:MILLHAND_TEST_EMPTY"}},
		"bad name":         {URL: "http://localhost/", Headers: map[string]string{"a b": "c"}},
		"bad value":        {URL: "http://localhost/", Headers: map[string]string{"a": "b\nc"}},
	} {
		if _, err := newHTTPType(cfg, nil); err == nil {
			t.Errorf("%s: no error", name)
		} else if name == "missing variable" && !strings.Contains(err.Error(), "MILLHAND_TEST_UNSET") {
			t.Errorf("%s: %v, want the variable's name", name, err)
		}
	}
}
