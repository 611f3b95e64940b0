package integration

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

// The registry knows each worker and what it runs, until it stops or is killed.
func TestPresence(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	client := newClient(t, b.URL)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan millhand.WorkerEvent, 10)
	go func() {
		for e, err := range client.WatchWorkers(ctx) {
			if err != nil {
				t.Errorf("watch: %v", err)
				return
			}
			events <- e
		}
	}()
	first := startWorker(t, b.URL, "-c", "2")
	one := receive(t, "the first joins", events)
	second := startWorker(t, b.URL, "-c", "3", "-q", "default", "-q", "low")
	two := receive(t, "the second joins", events)
	if w := one.Worker; one.Kind != "joined" || w.PID != first.pid() || w.Concurrency != 2 || !slices.Contains(w.Types, "sleep") {
		t.Errorf("first event = %+v", one)
	}
	if w := two.Worker; two.Kind != "joined" || w.PID != second.pid() || !slices.Equal(w.Queues, []string{"default", "low"}) {
		t.Errorf("second event = %+v", two)
	}

	ref := enqueue(t, b.URL, "-q", "low", "sleep", `{"for":"1h"}`)[0]
	var running millhand.RunningJob
	until(t, "the job runs", func() (ok bool) {
		r, err := client.FindRunning(t.Context(), ref)
		running = r
		return err == nil
	})
	if running.Worker != two.Worker.ID || running.ID != ref.ID || running.Since.IsZero() {
		t.Errorf("owner = %+v, want %s", running, two.Worker.ID)
	}
	all, err := client.Running(t.Context(), "sleep")
	if err != nil || len(all) != 1 || all[0].ID != ref.ID {
		t.Errorf("running = %+v, %v", all, err)
	}
	if none, err := client.Running(t.Context(), "echo"); err != nil || len(none) != 0 {
		t.Errorf("running of another type = %+v, %v", none, err)
	}

	killed := time.Now()
	second.kill(t)
	gone := receive(t, "the killed one expires", events)
	if gone.Kind != "expired" || gone.Worker.ID != two.Worker.ID {
		t.Errorf("event after a kill = %+v", gone)
	}
	t.Logf("gone %v after SIGKILL", time.Since(killed).Round(time.Millisecond))
	first.signal(t, syscall.SIGTERM)
	left := receive(t, "the other leaves", events)
	if left.Kind != "left" || left.Worker.ID != one.Worker.ID {
		t.Errorf("event after a stop = %+v", left)
	}
	first.wait(t)
	if workers, err := client.Workers(t.Context()); err != nil || len(workers) != 0 {
		t.Errorf("workers = %+v, %v", workers, err)
	}
}
