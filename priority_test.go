package millhand_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// queues runs jobs of a second each in several queues, and keeps the order of their starts.
type queues struct {
	client *millhand.Client

	mu      sync.Mutex
	started []string // queues
}

// startQueues enqueues n jobs in each queue, and then starts a worker.
func startQueues(t *testing.T, s *natstest.Server, cfg millhand.WorkerConfig, n int) *queues {
	t.Helper()
	q := &queues{client: client(t, s.Connect(t))}
	for _, served := range cfg.Queues {
		q.enqueue(t, served.Name, n)
	}
	cfg.Mux = millhand.NewMux()
	cfg.Mux.HandleFunc("work", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		q.mu.Lock()
		q.started = append(q.started, j.Queue)
		q.mu.Unlock()
		select {
		case <-time.After(time.Second):
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	})
	start(t, s.Connect(t), cfg)
	return q
}

func (q *queues) enqueue(t *testing.T, queue string, n int) {
	t.Helper()
	batch := make([]millhand.Request, n)
	for i := range batch {
		batch[i] = millhand.Request{Args: millhand.Raw{Name: "work"}, Options: []millhand.EnqueueOption{millhand.WithQueue(queue)}}
	}
	if _, err := q.client.EnqueueMany(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

// order returns the queues of the jobs started so far.
func (q *queues) order() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.started)
}

func count(queues []string, name string) (n int) {
	for _, q := range queues {
		if q == name {
			n++
		}
	}
	return n
}

// With a strict order a queue has no slot while jobs wait in a heavier one. The last slots of
// a round may be given before the last of the heavier jobs, all asked for, have come.
func TestStrictPriority(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		const slots, jobs, late = 4, 20, 20
		q := startQueues(t, s, millhand.WorkerConfig{
			Strict: true, Concurrency: slots, Queues: []millhand.Queue{{Name: "critical", Weight: 6}, {Name: "default", Weight: 3}, {Name: "low", Weight: 1}},
		}, jobs)
		time.Sleep(11 * time.Second)
		order := q.order()
		if n := count(order[:jobs-slots], "critical"); n != jobs-slots {
			t.Errorf("%d of the first %d jobs are critical, want all: %v", n, jobs-slots, order)
		}
		if n := count(order[:2*jobs-slots], "low"); n > 0 {
			t.Errorf("%d of the first %d jobs are low: %v", n, 2*jobs-slots, order)
		}
		// Low jobs have all slots by now. What comes to a heavier queue has the next ones, once
		// a job has come of it that tells how many wait: the first is often alone.
		q.enqueue(t, "critical", late)
		time.Sleep(8 * time.Second)
		order = q.order()[len(order):]
		if n := count(order[:late], "low"); n > 2*slots {
			t.Errorf("%d of the %d jobs after the late critical ones came are low, want at most the %d of two rounds: %v", n, late, 2*slots, order)
		}
		time.Sleep(20 * time.Second)
		if got, want := len(q.order()), 3*jobs+late; got != want {
			t.Errorf("%d jobs started, want %d", got, want)
		}
	})
}

func TestQueuesShareByWeight(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		const slots, seconds = 10, 20
		q := startQueues(t, s, millhand.WorkerConfig{
			Concurrency: slots, Queues: []millhand.Queue{{Name: "critical", Weight: 6}, {Name: "default", Weight: 3}, {Name: "low", Weight: 1}},
		}, 200)
		time.Sleep(3 * time.Second) // all have been heard
		before := len(q.order())
		time.Sleep(seconds * time.Second)
		order := q.order()[before:]
		if got, want := len(order), slots*seconds; got < want*9/10 {
			t.Errorf("%d jobs started in %d s, want about %d", got, seconds, want)
		}
		for name, tenths := range map[string]int{"critical": 6, "default": 3, "low": 1} {
			if got, want := count(order, name), len(order)*tenths/10; got < want-slots || got > want+slots {
				t.Errorf("%d of %d jobs are of queue %s, want %d±%d", got, len(order), name, want, slots)
			}
		}
	})
}

// Short jobs are asked for beyond the slots. Those of other types have their turn all the same.
func TestShortJobsDoNotCrowdOutOthers(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		batch := make([]millhand.Request, 1000)
		for i := range batch {
			batch[i] = millhand.Request{Args: millhand.Raw{Name: "short"}}
		}
		for range 12 { // 3 s of work
			if _, err := c.EnqueueMany(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
		mux := millhand.NewMux()
		mux.HandleFunc("short", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			<-time.After(time.Millisecond)
			return nil, nil
		})
		started := make(chan time.Time, 1)
		mux.HandleFunc("other", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			started <- time.Now()
			return nil, nil
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: 4})
		time.Sleep(1500 * time.Millisecond) // beyond the life of the first requests
		begin := time.Now()
		if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "other"}); err != nil {
			t.Fatal(err)
		}
		if waited := (<-started).Sub(begin); waited > 500*time.Millisecond {
			t.Errorf("the job waited %v", waited)
		}
	})
}

// A queue's own concurrency holds for this worker, whatever its weight, and leaves the other slots to others.
func TestQueueHasItsOwnConcurrency(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var mu sync.Mutex
		running, most, ran := make(map[string]int), make(map[string]int), make(map[string]int)
		mux := millhand.NewMux()
		for _, typ := range []string{"one", "two"} {
			mux.HandleFunc(typ, func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
				mu.Lock()
				running[j.Queue]++
				most[j.Queue] = max(most[j.Queue], running[j.Queue])
				mu.Unlock()
				defer func() {
					mu.Lock()
					running[j.Queue]--
					ran[j.Queue]++
					mu.Unlock()
				}()
				select {
				case <-time.After(100 * time.Millisecond):
					return nil, nil
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
			})
		}
		c := client(t, s.Connect(t))
		for range 100 {
			for _, typ := range []string{"one", "two"} {
				for _, queue := range []string{"capped", "free"} {
					if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: typ}, millhand.WithQueue(queue)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		start(t, s.Connect(t), millhand.WorkerConfig{
			Mux: mux, Concurrency: 8, Queues: []millhand.Queue{{Name: "capped", Weight: 9, Concurrency: 2}, {Name: "free"}},
		})
		time.Sleep(5 * time.Second)
		mu.Lock()
		if most["capped"] != 2 || most["free"] < 6 {
			t.Errorf("at most %v ran at once, want 2 of capped and the other slots for free", most)
		}
		if ran["capped"] < 80 || ran["free"] != 200 {
			t.Errorf("%v ran in 5 s, want nearly 100 of capped and all 200 of free", ran)
		}
		mu.Unlock()
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if most["capped"] != 2 || ran["capped"] != 200 {
			t.Errorf("at most %v at once, %v ran, want all", most, ran)
		}
	})
}
