package web_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/web"
)

// A site is a dashboard over a broker.
type site struct {
	*testing.T
	client  *millhand.Client
	handler *web.Handler
	server  *httptest.Server
}

func newSite(t *testing.T, o web.Options) *site {
	t.Helper()
	b, err := broker.Start(broker.Config{Store: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	nc, err := nats.Connect(b.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return siteOf(t, nc, o)
}

func siteOf(t *testing.T, nc *nats.Conn, o web.Options) *site {
	t.Helper()
	client, err := millhand.NewClient(nc, millhand.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h, err := web.New(client, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	s := &site{T: t, client: client, handler: h, server: httptest.NewServer(h)}
	t.Cleanup(s.server.Close)
	return s
}

func (s *site) enqueue(typ, payload string, opts ...millhand.EnqueueOption) millhand.Ref {
	s.Helper()
	ref, err := s.client.Enqueue(s.Context(), millhand.Raw{Name: typ, Payload: []byte(payload)}, opts...)
	if err != nil {
		s.Fatal(err)
	}
	return ref
}

// ask sends a request, and returns the answer. Redirects are not followed.
func (s *site) ask(method, path string, form url.Values, change ...func(*http.Request)) (*answer, string) {
	s.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(s.Context()), method, s.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, f := range change {
		f(r)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return &answer{resp.Status, resp.StatusCode, resp.Header, resp.Cookies()}, string(body)
}

// An answer is what came beside the body.
type answer struct {
	Status     string
	StatusCode int
	Header     http.Header
	Cookies    []*http.Cookie
}

// get returns a page that is to be there.
func (s *site) get(path string) string {
	s.Helper()
	resp, body := s.ask(http.MethodGet, path, nil)
	if resp.StatusCode != http.StatusOK {
		s.Fatalf("GET %s: %s\n%s", path, resp.Status, body)
	}
	return body
}

// post does an operation that is to be accepted, and returns what the next page says of it.
func (s *site) post(path string, form url.Values) string {
	s.Helper()
	resp, body := s.ask(http.MethodPost, path, form)
	if resp.StatusCode != http.StatusSeeOther {
		s.Fatalf("POST %s: %s\n%s", path, resp.Status, body)
	}
	_, page := s.ask(http.MethodGet, resp.Header.Get("Location"), nil, func(r *http.Request) {
		for _, c := range resp.Cookies {
			r.AddCookie(c)
		}
	})
	return page
}

// shows waits until a page says something: it may be of before.
func (s *site) shows(path string, texts ...string) {
	s.Helper()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		page := s.get(path)
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(page, text) }) {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			s.has(page, texts...)
			return
		}
	}
}

// has fails unless a page says something.
func (s *site) has(page string, texts ...string) {
	s.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			s.Errorf("the page lacks %q:\n%s", text, page)
		}
	}
}

func TestOverviewAndQueues(t *testing.T) {
	s := newSite(t, web.Options{})
	s.has(s.get("/"), "Nothing was enqueued yet", "enqueue --server")
	for i := range 3 {
		s.enqueue("email", fmt.Sprintf(`{"n":%d}`, i), millhand.WithQueue("mail"))
	}
	s.shows("/queues", `<a href="/queues/mail" data-open>mail</a>`, "no workers")
	s.has(s.get("/queues?name=zzz"), "None of 1 queue has “zzz” in its name")
	s.has(s.post("/pause", url.Values{"queue": {"mail"}, "for": {"1h"}, "reason": {"<b>move</b>"}, "back": {"/queues"}}), "mail is paused", "paused by local")
	s.has(s.get("/queues/mail"), "&lt;b&gt;move&lt;/b&gt;")
	s.has(s.post("/resume", url.Values{"queue": {"mail"}, "back": {"/queues"}}), "mail is resumed")
	s.has(s.get("/settings"), "Shortcuts of one key")
}
