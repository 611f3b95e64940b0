package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/web"
)

// What is wrong is on the overview and in the bar, with since when it is so, and comes to a page that is
// looked at without asking. Who does not see a queue hears nothing of it.
func TestProblems(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		log := natstest.Logger(t.Output())
		client, err := millhand.NewClient(s.Connect(t), millhand.Config{Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		get := dashboard(t, client, web.Options{})
		someSee := dashboard(t, client, web.Options{Visible: func(_ web.User, queue, _ string) bool { return queue == "open" }})
		for _, queue := range []string{"secret", "secret", "open"} {
			if _, err := client.Enqueue(t.Context(), millhand.Raw{Name: "email", Payload: []byte(`{}`)}, millhand.WithQueue(queue)); err != nil {
				t.Fatal(err)
			}
		}
		has(t, get("/", 0), "Nothing is wrong")
		live := get("/live/", 35*time.Second)
		for _, update := range []string{`hx-target="#problems"`, `hx-target="#bell"`} {
			if n := strings.Count(live, update); n < 2 {
				t.Errorf("the page was told %d times of %s, want as it was and as it became:\n%s", n, update, live)
			}
		}
		has(t, live, "<code>no_worker</code>", "3 jobs in 2 queues, for", "there is no worker", `1<span class="sr"> problem</span>`)
		page := get("/", 0)
		has(t, page, `<li class="error"><a href="/workers"`, `3 jobs in 2 queues, for <time datetime="2000-`)
		if page = someSee("/", 0); strings.Contains(page, "secret") || strings.Contains(page, "2 queues") {
			t.Errorf("the page tells of a queue that its user does not see:\n%s", page)
		}
		has(t, page, "1 job in 1 queue, for")
	})
}

// dashboard returns what one answers, to a request that lasts at most so long; 0: until it is answered.
func dashboard(t *testing.T, c *millhand.Client, o web.Options) func(path string, lasts time.Duration) string {
	t.Helper()
	h, err := web.New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return func(path string, lasts time.Duration) string {
		t.Helper()
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if lasts > 0 {
			ctx, cancel = context.WithTimeout(ctx, lasts)
		}
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
		r.RemoteAddr = "127.0.0.1:4711"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Body.String()
	}
}

func has(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q:\n%s", text, page)
		}
	}
}
