package web_test

import (
	"context"
	"errors"
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

// worker runs a worker whose jobs of type bad die, and those of type slow run until the test ends.
func (s *site) worker() {
	s.Helper()
	mux := millhand.NewMux()
	mux.HandleFunc("bad", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New(`no such file "<script>a.csv"`))
	})
	mux.HandleFunc("slow", func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	s.runs(mux, "default")
}

// runs starts a worker.
func (s *site) runs(mux *millhand.Mux, queues ...string) {
	s.Helper()
	cfg := millhand.WorkerConfig{Config: millhand.Config{Logger: slog.New(slog.DiscardHandler)}, Mux: mux, Name: "w", Concurrency: 4, DrainTimeout: -1}
	for _, queue := range queues {
		cfg.Queues = append(cfg.Queues, millhand.Queue{Name: queue, Weight: 1})
	}
	w, err := millhand.NewWorker(s.client.Conn(), cfg)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	s.Cleanup(func() {
		cancel()
		<-ended
	})
}

// field returns the value of a field of a form.
func (s *site) field(page, name string) string {
	s.Helper()
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(page)
	if m == nil {
		s.Fatalf("the page has no field %s:\n%s", name, page[strings.Index(page, "<main"):])
	}
	return strings.NewReplacer("&amp;", "&", "&#43;", "+", "&#34;", `"`).Replace(m[1])
}

func TestJobsAndWhatIsDoneToThem(t *testing.T) {
	s := newSite(t, web.Options{})
	later := s.enqueue("mail", `{"id":1970670598291982290,"to":"<b>x</b>"}`, millhand.WithDelay(time.Hour), millhand.WithMeta("customer", "42"))
	path := "/jobs/default/mail/" + later.ID
	page := s.get(path)
	s.has(page, "1970670598291982290", "&lt;b&gt;x&lt;/b&gt;", "not_due", "customer")
	if body := s.get(path + "/payload"); body != `{"id":1970670598291982290,"to":"<b>x</b>"}` {
		t.Errorf("the payload is sent as %s", body)
	}
	s.shows("/jobs?filter=state:scheduled", later.ID, "Run now marked")
	resp, _ := s.ask(http.MethodGet, "/jobs?filter="+later.ID, nil)
	if got := resp.Header.Get("Location"); got != path {
		t.Errorf("an id leads to %q, want %q", got, path)
	}
	s.has(s.get("/jobs?filter=nonsense:x"), "The filter cannot be read")
	seen := s.field(page, "job")
	s.has(s.post("/jobs", url.Values{"job": {seen}, "do": {"run"}, "back": {path}}), "1 job started early", "ready")
	resp, body := s.ask(http.MethodPost, "/jobs", url.Values{"job": {seen}, "do": {"run"}})
	if resp.StatusCode != http.StatusConflict {
		t.Errorf("what has moved on was moved again: %s\n%s", resp.Status, body)
	}
	seen = s.field(s.get(path), "job")
	s.has(s.post("/jobs", url.Values{"job": {seen}, "do": {"cancel"}, "reason": {"wrong file"}, "back": {path}}), "1 job cancelled", "cancelled")
	if _, err := s.client.Get(t.Context(), later); err != nil {
		t.Error(err)
	}
}

func TestDeadByGroupsAndMany(t *testing.T) {
	s := newSite(t, web.Options{})
	s.worker()
	for range 3 {
		s.enqueue("bad", `{}`)
	}
	s.shows("/jobs?filter=state:dead", "<b>3</b> match", "Delete marked")
	s.shows("/queues/default", "bad", "Ready")
	page := s.get("/dead?all=yes")
	s.has(page, "no such file", "Retry…")
	group := regexp.MustCompile(`id="g-([0-9a-f]+)"`).FindStringSubmatch(page)
	if group == nil {
		t.Fatal("there is no group:", page)
	}
	filter := "state:dead group:" + group[1]
	page = s.get("/bulk/new?do=delete&filter=" + url.QueryEscape(filter))
	s.has(page, "Delete 3 jobs?")
	form := url.Values{"do": {"delete"}, "filter": {filter}, "before": {s.field(page, "before")}, "total": {"3"}, "rate": {"200"}}
	resp, body := s.ask(http.MethodPost, "/bulk", form)
	if resp.StatusCode != http.StatusSeeOther {
		t.Fatal(resp.Status, body)
	}
	s.shows(resp.Header.Get("Location"), "Done in", "done <b>3</b>")
	n, err := s.client.CountDead(t.Context(), millhand.DeadFilter{})
	if err != nil || n != 0 {
		t.Errorf("%d jobs are dead, %v, want none", n, err)
	}
	s.shows("/activity", "delete", filter)
}

func TestWorkersAndLimits(t *testing.T) {
	s := newSite(t, web.Options{})
	s.worker()
	s.enqueue("slow", `{}`)
	s.shows("/jobs?filter=state:running", "slow")
	s.shows("/workers", "1/4")
	workers, err := s.client.Workers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := workers[0].ID
	s.shows("/workers", id, "1/4")
	s.has(s.get("/workers/"+id), "default/slow/")
	s.has(s.get("/types/slow"), "Longest running", "default/slow/")
	s.has(s.post("/limits", url.Values{"pool": {"slow"}, "limit": {"3"}, "back": {"/limits"}}), "slow: 3, was no limit", "local")
	s.has(s.post("/workers/"+id+"/drain", url.Values{"back": {"/workers"}}), "was told to take no new jobs")
	s.shows("/workers", "draining", "Undrain")
	for _, path := range []string{"/types", "/cron", "/broker", "/activity", "/settings"} {
		s.get(path)
	}
}
