package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/notify"
	"github.com/millhand/millhand/internal/problem"
)

// A hook is a server that is told. It lives outside of the bubble, whose time stands still while it is asked.
type hook struct {
	*httptest.Server

	mu      sync.Mutex
	answers []int // statuses, the last one again and again; none: 204
	tries   []try
}

type try struct {
	body, key string
}

func newHook(t *testing.T, answers ...int) *hook {
	t.Helper()
	h := &hook{answers: answers}
	h.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.tries = append(h.tries, try{body: string(body), key: r.Header.Get("Idempotency-Key")})
		status := http.StatusNoContent
		if len(h.answers) > 0 {
			status = h.answers[0]
			h.answers = h.answers[min(1, len(h.answers)-1):]
		}
		if status == http.StatusFound {
			rw.Header().Set("Location", "/elsewhere")
		}
		rw.WriteHeader(status)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) told() (subjects []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.tries {
		var got struct{ Problem struct{ Subject string } }
		if err := json.Unmarshal([]byte(m.body), &got); err != nil {
			return []string{err.Error()}
		}
		subjects = append(subjects, got.Problem.Subject)
	}
	return subjects
}

func about(subjects ...string) (all []problem.Message) {
	for _, s := range subjects {
		all = append(all, problem.Message{Event: problem.Began, At: time.Date(2026, 11, 29, 14, 2, 0, 0, time.UTC), Problem: problem.Problem{
			ID: "P01", Code: problem.NoWorker, Level: problem.Error, Subject: s, Text: "no worker serves it",
		}})
	}
	return all
}

// inBubble has a sender send to an address, and returns what it logged.
func inBubble(t *testing.T, address string, test func(s *notify.Sender, stop func())) string {
	t.Helper()
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		s := notify.New(notify.Config{URL: address, Namespace: "millhand", Worker: "web-1", Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		stopped := false
		stop := func() {
			if !stopped {
				stopped = true
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
		}
		defer stop()
		test(s, stop)
	})
	return log.String()
}

func TestMessage(t *testing.T) {
	h := newHook(t)
	inBubble(t, h.URL, func(s *notify.Sender, _ func()) {
		s.Send(about("media/resize"))
		time.Sleep(time.Second)
	})
	want := `{"event":"began","at":"2026-11-29T14:02:00Z","problem":{"id":"P01","code":"no_worker","level":"error","subject":"media/resize","text":"no worker serves it"},"namespace":"millhand","worker":"web-1"}`
	if len(h.tries) != 1 || h.tries[0].body != want || h.tries[0].key != "millhand/no_worker/media/resize/began/1795960920000" {
		t.Errorf("told %+v", h.tries)
	}
}

// What is not taken is tried again, in order, unless it would never be taken.
func TestTries(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []int
		wait    time.Duration
		want    string
		logged  string
	}{
		{"away for a moment", []int{503, 500, 429, 204}, 8 * time.Second, "[a a a a b]", ""},
		{"not longer than ten minutes", []int{500}, time.Hour, "", "nobody is told of a problem"},
		{"refused", []int{403, 204}, time.Minute, "[a b]", "answered 403 Forbidden"},
		{"elsewhere", []int{302, 204}, time.Minute, "[a b]", "answered 302 Found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHook(t, tt.answers...)
			secret := "T0KEN"
			log := inBubble(t, strings.Replace(h.URL, "//", "//user:"+secret+"@", 1)+"/"+secret+"?key="+secret, func(s *notify.Sender, _ func()) {
				s.Send(about("a", "b"))
				time.Sleep(tt.wait)
			})
			if got := fmt.Sprint(h.told()); tt.want != "" && got != tt.want {
				t.Errorf("told %s, want %s", got, tt.want)
			}
			if n := len(h.told()); tt.want == "" && (n < 20 || n > 40) {
				t.Errorf("%d tries in ten minutes", n)
			}
			if !strings.Contains(log, tt.logged) || (tt.logged == "") == strings.Contains(log, "level=WARN") {
				t.Errorf("logged %s, want %q", log, tt.logged)
			}
			if strings.Contains(log, secret) {
				t.Errorf("the log has the secret: %s", log)
			}
		})
	}
}

// What cannot be reached is not named by its path, and what is left at the end has one more try.
func TestStop(t *testing.T) {
	h := newHook(t, 500, 204)
	inBubble(t, h.URL, func(s *notify.Sender, stop func()) {
		s.Send(about("a", "b"))
		time.Sleep(time.Millisecond)
		stop()
	})
	if d := cmp.Diff([]string{"a", "a", "b"}, h.told()); d != "" {
		t.Error(d)
	}
	h.Close()
	log := inBubble(t, h.URL+"/T0KEN", func(s *notify.Sender, stop func()) {
		s.Send(about("a"))
		time.Sleep(5 * time.Second)
		stop()
	})
	if strings.Contains(log, "T0KEN") || !strings.Contains(log, "level=WARN") || !strings.Contains(log, "connection refused") {
		t.Errorf("logged %s", log)
	}
}

// A hook that hangs keeps nobody waiting, and what waits for it is bounded.
func TestBound(t *testing.T) {
	h := newHook(t, 500)
	log := inBubble(t, h.URL, func(s *notify.Sender, _ func()) {
		for i := range 150 {
			s.Send(about(strconv.Itoa(i)))
		}
		time.Sleep(time.Hour)
	})
	if !strings.Contains(log, "too many wait to be sent") {
		t.Errorf("logged %s", log)
	}
}

func TestCheck(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://hooks.example.com/x": true, "http://127.0.0.1:9000": true,
		"": false, "hooks.example.com": false, "ftp://hooks.example.com/SECRET": false, "https:///SECRET": false, "https://h ost/SECRET": false,
	} {
		err := notify.Check(address)
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("Check(%q) = %v", address, err)
		}
	}
}
