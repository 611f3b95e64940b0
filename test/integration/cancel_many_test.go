package integration

import (
	"context"
	"flag"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

var cancels = flag.Int("cancels", 3000, "jobs that are cancelled by a filter while three workers run")

// Jobs are cancelled by a filter while three workers run them. None starts once the first answer has come, but
// for those that it says are running; what it says is gone has not run; and each job ends once.
func TestCancelManyWhileWorkersRun(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	c := newClient(t, b.URL)
	batch := make([]millhand.Request, *cancels)
	for i := range batch {
		batch[i].Args = millhand.Raw{Name: "work"}
	}
	refs, err := c.EnqueueMany(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	ran, late, answered := make(map[millhand.Ref]int), make(map[millhand.Ref]bool), false
	some := make(chan bool, 1)
	mux := millhand.NewMux()
	mux.HandleFunc("work", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		mu.Lock()
		ran[j.Ref]++
		if answered {
			late[j.Ref] = true
		}
		if len(ran) == *cancels/30+1 {
			some <- true
		}
		mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
			return nil, nil
		}
	})
	for range 3 {
		runWorker(t, b.URL, millhand.WorkerConfig{Mux: mux, Concurrency: 10})
	}
	receive(t, "some have run", some)

	began, first := time.Now(), time.Duration(0)
	gone, told := make(map[millhand.Ref]bool), make(map[millhand.Ref]bool)
	before := 0
	for done, err := range c.CancelMany(t.Context(), millhand.JobFilter{Type: "work"}) {
		if err != nil {
			t.Fatal(err)
		}
		if first == 0 {
			mu.Lock()
			first, before, answered = time.Since(began), len(ran), true
			mu.Unlock()
		}
		if len(done.Unanswered) > 0 {
			t.Errorf("no answer from %v", done.Unanswered)
		}
		if done.Worker != "" {
			told[done.Ref] = true
		} else {
			gone[done.Ref] = true
		}
	}
	took := time.Since(began)
	events := conserved(t, b.URL, refs)
	mu.Lock()
	defer mu.Unlock()
	t.Logf("of %d jobs %d had started by the first answer, after %v; %d were told, %d are gone, after %v: %.0f/s",
		*cancels, before, first.Round(time.Millisecond), len(told), len(gone), took.Round(time.Millisecond), float64(len(gone))/(took-first).Seconds())
	for ref := range late {
		if !told[ref] {
			t.Errorf("%s started after the first answer, and none said that it runs", ref.ID)
		}
	}
	for _, ref := range refs {
		if runs := ran[ref]; runs > 1 || gone[ref] == (runs > 0) {
			t.Errorf("%s: ran %d times, gone %v, told %v: %s", ref.ID, runs, gone[ref], told[ref], kinds(events[ref]))
		}
	}
	if len(gone) == 0 {
		t.Error("all jobs had run before they were to be cancelled")
	}
}
