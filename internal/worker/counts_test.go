package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
	"github.com/millhand/millhand/internal/worker"
)

// mishap is a handler that ends in each of the ways there are, by the job's number.
func mishap(n int, d *queue.Delivery) error {
	again := d.Attempt > 1 || d.HasStarted()
	switch {
	case n%8 == 1 && !again:
		return errors.New("not yet")
	case n%8 == 2:
		return &job.PermanentError{Err: errors.New("never")}
	case n%8 == 3 && !again:
		return &job.LaterError{Delay: time.Minute, Err: errors.New("later")}
	case n%8 == 4 && !again:
		return &job.HandBackError{Err: errors.New("not here")}
	case n%8 == 5 && !again:
		panic("oh no")
	case n%8 == 6 && !again:
		runtime.Goexit()
	}
	return nil
}

// What a worker counts is what the events say, whatever becomes of its jobs, and besides that the
// successes that leave no event.
func TestCountsAreTheEvents(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		const jobs = 80
		types := handled(func(_ context.Context, d *queue.Delivery, _ int) ([]byte, error) {
			var n int
			if _, err := fmt.Sscanf(d.ID, "job-%d", &n); err != nil {
				return nil, err
			}
			time.Sleep(time.Second)
			return nil, mishap(n, d)
		}, "loud", "silent")
		silent := types["silent"]
		silent.SilentSuccess = true
		types["silent"] = silent
		w := newWorker(t, s.Connect(t), worker.Config{Types: types, Concurrency: jobs})
		nc := s.Connect(t)
		c := newClient(t, nc)
		enqueue := func(typ string, n int, opts ...millhand.EnqueueOption) {
			t.Helper()
			opts = append(opts, millhand.WithID(fmt.Sprintf("job-%d", n)))
			if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: typ}, opts...); err != nil {
				t.Error(err)
			}
		}
		for typ := range types {
			enqueue(typ, 0, millhand.WithExpires(time.Second))
		}
		time.Sleep(5 * time.Second)
		ctx, stop := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Errorf("worker: %v", err)
			}
		})
		time.Sleep(5 * time.Second)
		for typ := range types {
			enqueue(typ, 8, millhand.WithDelay(time.Minute))
			for n := range jobs / 2 {
				if n != 0 && n != 8 {
					enqueue(typ, n)
				}
			}
		}
		time.Sleep(10 * time.Minute)
		stop()
		ended.Wait()
		synctest.Wait()

		got, fromEvents := w.Counted(), eventCounts(t, newJetStream(t, nc))
		for _, typ := range []string{"loud", "silent"} {
			pair := tally.Pair{Queue: "default", Type: typ}
			var counted, told [7]uint64
			for i, o := range tally.Outcomes() {
				counted[i], told[i] = got[pair].N[o], fromEvents[pair][o]
			}
			if typ == "silent" { // of the 40 jobs 5 die and 1 expires; those with a history have an event
				told[0] += got[pair].N[tally.Succeeded] - told[0]
				if want := uint64(jobs/2 - 5 - 1); counted[0] != want {
					t.Errorf("%d successes of %s, want %d", counted[0], typ, want)
				}
			}
			if d := cmp.Diff(told, counted); d != "" {
				t.Errorf("%s: %v counted of %v\n%s", typ, counted, tally.Outcomes(), d)
			}
			c := got[pair]
			for what, want := range map[tally.Counter]uint64{
				tally.Permanent: 5, tally.Expired: 1, tally.Panics: 5, tally.Successors: 25, tally.Due: 20, tally.Fired: 21,
				tally.Started: jobs/2 - 1 + 25,
			} {
				if c.N[what] != want {
					t.Errorf("%s: %v = %d, want %d", typ, what, c.N[what], want)
				}
			}
			run, wait := c.Histogram(tally.Run), c.Histogram(tally.Wait)
			if run.Count() != c.N[tally.Started] || wait.Count() != c.N[tally.Started] {
				t.Errorf("%s: %d started, %d with a run and %d with a wait", typ, c.N[tally.Started], run.Count(), wait.Count())
			}
			if got := run.Quantile(0.99); got < 900*time.Millisecond || got > 1100*time.Millisecond {
				t.Errorf("%s: runs of a second take %v", typ, got)
			}
			if busy, want := c.Busy(), time.Duration(c.N[tally.Started])*time.Second; busy < want || busy > want+time.Second {
				t.Errorf("%s: busy for %v, want %v", typ, busy, want)
			}
			if got := wait.Quantile(0.5); got > time.Second {
				t.Errorf("%s: half of the jobs waited %v, although a delay that was asked for does not count", typ, got)
			}
			if late := c.Histogram(tally.Late); late.Quantile(1) > time.Second {
				t.Errorf("%s: made ready %v late", typ, late.Quantile(1))
			}
		}
	})
}

// eventCounts reads all events, and counts them by their kind.
func eventCounts(t *testing.T, js *stream.Client) map[tally.Pair]map[tally.Counter]uint64 {
	t.Helper()
	kinds := make(map[string]tally.Counter)
	for _, o := range tally.Outcomes() {
		kinds[o.String()] = o
	}
	all := make(map[tally.Pair]map[tally.Counter]uint64)
	for m, err := range js.Scan(t.Context(), "millhand-events", stream.Scan{Subject: "millhand.event.>", UpTo: 1 << 62}) {
		if err != nil {
			t.Fatal(err)
		}
		tokens := strings.Split(m.Subject, ".")
		pair := tally.Pair{Queue: tokens[2], Type: tokens[3]}
		if all[pair] == nil {
			all[pair] = make(map[tally.Counter]uint64)
		}
		all[pair][kinds[m.Header.Get("Millhand-Event")]]++
	}
	return all
}

func newJetStream(t *testing.T, nc *nats.Conn) *stream.Client {
	t.Helper()
	js, err := stream.New(nc, stream.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// The history has what workers counted, up to their last job, and what waited.
func TestStatisticsOfAWorker(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		js := newJetStream(t, nc)
		reg, store := registry.NewStore(js, log), stats.NewStore(js, log)
		look := view.New(view.Config{Client: js, Store: queue.NewStore(js, queue.Config{Logger: log}), Registry: reg})
		w := newWorker(t, nc, worker.Config{
			Concurrency: 2, Stats: store, View: look, Problems: problem.NewLooker(js, look, store, nil),
			Types: handled(func(context.Context, *queue.Delivery, int) ([]byte, error) {
				time.Sleep(time.Minute)
				return nil, nil
			}, "slow"),
		})
		ctx, stop := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Errorf("worker: %v", err)
			}
		})
		begin := time.Now()
		c := newClient(t, nc)
		for range 10 {
			if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "slow"}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "nobody"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4*time.Minute + 40*time.Second)
		stop()
		ended.Wait()
		series, err := store.History(t.Context(), stats.Query{From: begin, Until: time.Now(), By: tally.ByPair})
		if err != nil {
			t.Fatal(err)
		}
		if len(series.Lines) != 1 || series.Lines[0].Pair != (tally.Pair{Queue: "default", Type: "slow"}) {
			t.Fatalf("lines %+v", series.Lines)
		}
		line := series.Lines[0]
		counted := w.Counted()[line.Pair]
		if d := cmp.Diff(counted.N, line.Total.N); d != "" {
			t.Errorf("the history is not what was counted:\n%s", d)
		}
		if line.Total.N[tally.Succeeded] != 10 {
			t.Errorf("%d succeeded, want 10", line.Total.N[tally.Succeeded])
		}
		for i, p := range line.Points[:4] { // two slots are busy all the time, though no run ends within a minute
			if busy := p.Busy(); busy < 100*time.Second || busy > 130*time.Second {
				t.Errorf("minute %d: busy for %v, want about two minutes", i, busy)
			}
		}
		b := series.Backlog[1]
		if b == nil || b.Workers.Max != 1 || b.Slots.Max != 2 || b.Used.Max != 2 || b.Queues["default"].Types["slow"].Ready.Max < 4 {
			t.Errorf("after a minute the backlog is %+v", b)
		}
		minutes, err := stats.NewRecent(store, 10*time.Minute).Minutes(t.Context(), begin.Add(4*time.Minute+40*time.Second))
		if err != nil || len(minutes) < 4 {
			t.Fatalf("%d minutes, %v", len(minutes), err)
		}
		if signs := problem.LastSigns(minutes, time.Now()); !slices.ContainsFunc(signs, func(s tally.Sign) bool {
			return s.Code == string(problem.NoWorker) && s.Subject == "default/nobody" && s.Problem
		}) {
			t.Errorf("signs %+v", signs)
		}
	})
}
