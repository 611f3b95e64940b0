package integration

import (
	"errors"
	"flag"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
)

var deadJobs = flag.Int("dead", 1000, "jobs that are requeued while they die again")

// Two operators requeue all that is dead, at the same time, while workers let it die again and one of
// them is killed. Each of them ends; whatever died goes on in one life, which ends once, or is dead
// still; and nothing is lost.
func TestRequeueWhileTheyDieAgain(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	first := startWorker(t, b.URL, "--http", "", "--ack-wait", "2s")
	startWorker(t, b.URL, "--http", "", "--ack-wait", "2s")
	line := `{"type":"flaky","payload":{"fail":1},"max_attempts":1}` + "\n"
	refs := enqueueFrom(t, b.URL, strings.Repeat(line, *deadJobs), "--from", "-")
	nc := connect(t, b.URL)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	awaitEmpty(t, js, "default")
	began := time.Now()
	requeued := make([]map[millhand.Ref]bool, 2)
	var operators sync.WaitGroup
	for i := range requeued {
		requeued[i] = make(map[millhand.Ref]bool)
		c := newClient(t, b.URL)
		operators.Go(func() { requeueAll(t, c, requeued[i]) })
	}
	first.kill(t)
	startWorker(t, b.URL, "--http", "", "--ack-wait", "2s")
	operators.Wait()
	t.Logf("%d and %d requeued in %v", len(requeued[0]), len(requeued[1]), time.Since(began).Round(time.Millisecond))
	awaitEmpty(t, js, "default")

	died, revived := 0, 0
	events := allEvents(t, nc, js)
	for ref, of := range events {
		ends := 0
		for _, e := range of {
			if e.State.Final() {
				ends++
			}
		}
		if ends != 1 || !of[len(of)-1].State.Final() {
			t.Errorf("%s, life %s: %s", ref.ID, ref.Life, kinds(of))
		}
		if of[len(of)-1].State == millhand.Dead {
			died++
		}
		if strings.HasPrefix(ref.Life, "q-") {
			revived++
		}
	}
	for _, r := range refs {
		if len(events[r]) == 0 {
			t.Errorf("job %s has no end", r.ID)
		}
	}
	for _, of := range requeued {
		for r := range of {
			if len(events[r]) == 0 {
				t.Errorf("job %s was requeued as %s, of which nothing is known", r.ID, r.Life)
			}
		}
	}
	left, err := newClient(t, b.URL).CountDead(t.Context(), millhand.DeadFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if revived < *deadJobs || left != died-revived {
		t.Errorf("%d jobs died %d times, and %d lives came of that: %d are left dead, want %d", *deadJobs, died, revived, left, died-revived)
	}
}

// requeueAll requeues what is dead now, and notes as what.
func requeueAll(t *testing.T, c *millhand.Client, requeued map[millhand.Ref]bool) {
	t.Helper()
	for ref, err := range c.RequeueDead(t.Context(), millhand.DeadFilter{Type: "flaky"}, millhand.RequeueConfig{}) {
		switch {
		case err == nil:
			requeued[ref] = true
		case !errors.Is(err, millhand.ErrDuplicate): // the other one was first, and it lives or has died again
			t.Errorf("requeue %s: %v", ref.ID, err)
		}
	}
}
