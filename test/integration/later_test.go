package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A thousand jobs are due at once, and the worker that begins with them is killed: each ends once, and
// none starts before its time.
func TestManyDueAtOnceOverAKill(t *testing.T) {
	t.Parallel()
	const jobs, before = 1000, 100
	b := startBroker(t)
	first := startWorker(t, b.URL, "--http", "", "--ack-wait", "1s")
	heard := make(chan *nats.Msg, jobs)
	if _, err := connect(t, b.URL).ChanSubscribe("millhand.event.default.echo.*", heard); err != nil {
		t.Fatal(err)
	}
	due := time.Now().Add(3 * time.Second)
	lines := strings.Repeat(`{"type":"echo","payload":{}}`+"\n", jobs)
	refs := enqueueFrom(t, b.URL, lines, "--from", "-", "--at", due.Format(time.RFC3339Nano))
	for range before {
		receive(t, "an end", heard)
	}
	first.kill(t)
	startWorker(t, b.URL, "--http", "", "--ack-wait", "1s")
	runs := 0
	for ref, events := range conserved(t, b.URL, refs) {
		for _, e := range events {
			if early := due.Sub(e.StartedAt); !e.StartedAt.IsZero() && early > 0 {
				t.Errorf("job %s started %v early", ref.ID, early)
			}
		}
		runs += len(events)
	}
	t.Logf("%d events of %d jobs", runs, len(refs))
}
