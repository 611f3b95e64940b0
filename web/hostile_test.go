package web_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/web"
)

// hostile is what is in everything that others write. A browser must not run it, and who may not see what
// is in jobs must not see it. A carriage return ends a line of an event stream.
const hostile = "\"hunter2 <script>alert(1)</script>\r\revent: millhand:ended\rdata: x\r\r\""

// hostileWorker runs jobs that fail, wait for another try, tell of their progress, return something or panic,
// and say hostile things.
func (s *site) hostileWorker() {
	s.Helper()
	mux := millhand.NewMux()
	type raw = *millhand.Job[millhand.Raw]
	mux.HandleFunc("dies", func(context.Context, raw) ([]byte, error) {
		return nil, millhand.Permanent(errors.New("no such " + hostile))
	})
	mux.HandleFunc("again", func(context.Context, raw) ([]byte, error) {
		return nil, millhand.RetryAfter(time.Hour, errors.New("no such "+hostile))
	})
	mux.HandleFunc("panics", func(context.Context, raw) ([]byte, error) { panic("no such " + hostile) })
	mux.HandleFunc("gives", func(context.Context, raw) ([]byte, error) { return []byte(hostile), nil })
	mux.HandleFunc("runs", func(ctx context.Context, j raw) ([]byte, error) {
		j.Progress(1, 2, hostile)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	cfg := millhand.WorkerConfig{Config: millhand.Config{Logger: slog.New(slog.DiscardHandler)}, Mux: mux, Name: "<b>w", Concurrency: 8, DrainTimeout: -1}
	w, err := millhand.NewWorker(s.client.Conn(), cfg)
	if err != nil {
		cfg.Name = "w" // no worker has a name that is one of HTML
		if w, err = millhand.NewWorker(s.client.Conn(), cfg); err != nil {
			s.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	s.Cleanup(func() {
		cancel()
		<-ended
	})
}

// Whatever is in jobs is text to who may see it, and is not sent to others at all.
func TestHostileText(t *testing.T) {
	s := newSite(t, web.Options{Auth: byHeader})
	s.hostileWorker()
	paths := []string{
		"/", "/queues", "/queues/default", "/types", "/types/dies", "/jobs", "/jobs?filter=state:dead", "/jobs?filter=state:retrying", "/jobs?filter=state:running",
		"/jobs?filter=" + url.QueryEscape(hostile), "/dead?all=yes", "/dead?type=" + url.QueryEscape(hostile), "/workers", "/workers?name=" + url.QueryEscape(hostile),
		"/queues?name=" + url.QueryEscape(hostile), "/limits", "/cron", "/activity", "/broker", "/settings", "/nothing/" + url.PathEscape(hostile),
		"/bulk/new?do=retry&filter=state:dead", "/queues/" + url.PathEscape(hostile),
	}
	for typ, state := range map[string]string{"dies": "dead", "panics": "", "again": "retrying", "gives": "succeeded", "runs": "running", "later": "ready"} {
		ref := s.enqueue(typ, `{"a":`+fmt.Sprintf("%q", "hunter2 <script>")+`}`, millhand.WithMeta("note", "hunter2<script>"))
		path := "/jobs/default/" + typ + "/" + ref.ID
		if state != "" {
			s.until(path, state)
		}
		paths = append(paths, path)
	}
	admin := []func(*http.Request){as("admin")}
	form := url.Values{"queue": {"default"}, "for": {"1h"}, "reason": {"hunter3 <script>"}, "back": {"/" + hostile}}
	if resp, _ := s.ask("POST", "/pause", form, admin...); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/" {
		t.Errorf("pause: %s, back to %q", resp.Status, resp.Header.Get("Location"))
	}
	s.ask("POST", "/bulk", url.Values{"do": {"retry"}, "filter": {"state:dead type:none error:hunter2"}, "total": {"0"}, "rate": {"1"}, "before": {time.Now().Format(time.RFC3339)}}, admin...)
	tag := regexp.MustCompile(`(?i:<script>)|<b>w-`)
	for _, path := range paths {
		seen := strings.Contains(path, "hunter2") // by who asked for it
		for _, role := range []string{"viewer", "admin"} {
			for _, at := range []string{path, "/live" + path} {
				resp := send(t, s.handler, "GET", at, nil, as(role))
				body := resp.Body.String()
				if resp.Code >= 500 {
					t.Errorf("GET %s as %s: %d", at, role, resp.Code)
				}
				if found := tag.FindString(body); found != "" {
					t.Errorf("GET %s as %s has %s", at, role, found)
				}
				if role == "viewer" && !seen && strings.Contains(body, "hunter2") {
					i := strings.Index(body, "hunter2")
					t.Errorf("GET %s as viewer shows what is in a job: …%q…", at, body[max(0, i-80):i])
				}
				if resp.Header().Get("Content-Type") == "text/event-stream" {
					checkStream(t, at, body)
				}
			}
		}
	}
}

// checkStream fails unless each line of an event stream, as a browser splits it, is one that is meant.
func checkStream(t *testing.T, at, body string) {
	t.Helper()
	for _, line := range regexp.MustCompile("\r\n|\r|\n").Split(body, -1) {
		if line != "" && !strings.HasPrefix(line, "data:") && line != "event: millhand:ended" || strings.HasPrefix(line, "data: x") {
			t.Errorf("GET %s: the stream has the line %q", at, line)
		}
	}
	if strings.Contains(body, "\r") {
		t.Errorf("GET %s: the stream has a carriage return", at)
	}
}

// until waits until a page says something.
func (s *site) until(path, text string) {
	s.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, page := s.ask("GET", path, nil, as("admin"))
		if strings.Contains(page, "s-"+text) {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s does not become %s:\n%s", path, text, page)
		}
		<-poll.C
	}
}
