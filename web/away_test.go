package web_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/web"
)

// What cannot be shown while the broker is away says that, and that it comes back.
func TestPagesWhileTheBrokerIsAway(t *testing.T) {
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
	s := siteOf(t, nc, web.Options{})
	ref := s.enqueue("mail", `{}`, millhand.WithDelay(time.Hour))
	s.get("/queues")
	b.Shutdown()
	for _, path := range []string{"/jobs?filter=state:dead", "/jobs?filter=" + ref.ID, "/jobs/default/mail/" + ref.ID, "/dead?all=yes", "/cron", "/activity", "/bulk/new?do=delete&filter=state:dead", "/api/v1/jobs", "/api/v1/cron"} {
		want := http.StatusServiceUnavailable
		if path == "/jobs?filter=state:dead" || path == "/dead?all=yes" {
			want = http.StatusOK // of what there was, beneath a banner
		}
		if resp, body := s.ask("GET", path, nil); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d\n%.1500s", path, resp.Status, want, body)
		}
	}
}
