package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
)

// Of many callers at once one wins, and all others are told who: before the job has run, and after.
func TestOneOfManyCallersWins(t *testing.T) {
	t.Parallel()
	t.Run("one server", func(t *testing.T) { t.Parallel(); oneOfMany(t, startBroker(t).URL, 50) })
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		oneOfMany(t, urls(startCluster(t, func(string) {})), 20)
	})
}

func oneOfMany(t *testing.T, url string, callers int) {
	t.Helper()
	startWorker(t, url, "--queue", "other") // the streams are there
	begun := time.Now()
	first := callAtOnce(t, url, callers)
	if len(first.stored) != 1 || len(first.refused) != callers-1 {
		t.Fatalf("%d of %d callers have enqueued the job, %d were refused", len(first.stored), callers, len(first.refused))
	}
	for _, r := range first.refused {
		if r.Ref != first.stored[0].Ref || !r.Until.IsZero() {
			t.Errorf("refused because of %+v until %v, want %+v", r.Ref, r.Until, first.stored[0].Ref)
		}
	}
	startWorker(t, url)
	conserved(t, url, []millhand.Ref{first.stored[0].Ref})
	for _, r := range callAtOnce(t, url, 3).refused {
		if r.Ref != first.stored[0].Ref || r.Until.Before(begun.Add(time.Hour)) {
			t.Errorf("once it had run: refused because of %+v until %v, want %+v", r.Ref, r.Until, first.stored[0].Ref)
		}
	}
}

// What the command prints.
type called struct {
	millhand.Ref
	Duplicate bool
	Until     time.Time
}

type calls struct{ stored, refused []called }

func callAtOnce(t *testing.T, url string, callers int) (all calls) {
	t.Helper()
	var mu sync.Mutex
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			out, stderr, code := runEnqueue(t, "", "-s", url, "-o", "json", "sleep", `{"for":"1ms"}`, "--unique=1h")
			var c called
			if err := json.Unmarshal([]byte(out), &c); err != nil || code != 0 && code != 4 || c.Duplicate != (code == 4) {
				t.Errorf("enqueue --unique: exit code %d, %s%s", code, out, stderr)
			}
			mu.Lock()
			defer mu.Unlock()
			if code == 0 {
				all.stored = append(all.stored, c)
			} else {
				all.refused = append(all.refused, c)
			}
		})
	}
	running.Wait()
	return all
}

// A worker is killed while it ends jobs whose ids are kept, many of them between the hold and the ack,
// and the broker right after. Each job ends once, and each id stays taken.
func TestIDsAreKeptThroughKills(t *testing.T) {
	t.Parallel()
	const jobs = 200
	b := startBroker(t)
	work := []string{"-c", "50", "--ack-wait", "2s"}
	first := startWorker(t, b.URL, work...)
	held := make(chan *nats.Msg, jobs)
	nc := connect(t, b.URL)
	if _, err := nc.ChanSubscribe("millhand.default.once.>", held); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil { // the jobs take less time than the subscription may
		t.Fatal(err)
	}
	var lines strings.Builder
	for i := range jobs {
		fmt.Fprintf(&lines, `{"type":"sleep","id":"kept-%d","unique":"1h","payload":{"for":"0s"}}`+"\n", i)
	}
	refs := enqueueFrom(t, b.URL, lines.String(), "--from", "-")
	receive(t, "an id is held", held)
	first.kill(t)
	b.kill(t)
	b.start(t)
	startWorker(t, b.URL, work...)
	conserved(t, b.URL, refs)
	b.kill(t)
	b.start(t)
	c := newClient(t, b.URL)
	for _, r := range refs {
		_, err := c.Enqueue(t.Context(), millhand.Raw{Name: r.Type}, millhand.WithID(r.ID))
		d, ok := errors.AsType[*millhand.DuplicateError](err)
		if !ok || d.Existing != r || d.Until.IsZero() {
			t.Errorf("%s: %v, want a duplicate of %+v", r.ID, err, r)
		}
	}
}

// The broker restarts within the period: the id is taken until then, and no longer.
func TestPeriodOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	startWorker(t, b.URL)
	c := newClient(t, b.URL)
	enqueue := func() (millhand.Ref, error) {
		return c.Enqueue(t.Context(), millhand.Raw{Name: "sleep", Payload: []byte(`{"for":"0s"}`)}, millhand.WithUniqueFor(5*time.Second))
	}
	ref, err := enqueue()
	if err != nil {
		t.Fatal(err)
	}
	conserved(t, b.URL, []millhand.Ref{ref})
	_, err = enqueue()
	kept, ok := errors.AsType[*millhand.DuplicateError](err)
	if !ok || kept.Until.IsZero() {
		t.Fatalf("within its period: %v", err)
	}
	b.kill(t)
	b.start(t)
	until(t, "the id is free", func() bool {
		_, err = enqueue()
		d, refused := errors.AsType[*millhand.DuplicateError](err)
		if refused && !d.Until.Equal(kept.Until) {
			t.Fatalf("taken until %v, and before until %v", d.Until, kept.Until)
		}
		return err == nil
	})
	if early := time.Until(kept.Until); early > 0 {
		t.Errorf("free %v before its time", early)
	}
}
