package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// On an idle worker with many more types, or pairs of queue and type, than requests may stand,
// a job starts soon, and the worker has no more to say to the broker for it than if types took turns alone.
func TestLatencyOfManyTypes(t *testing.T) {
	for _, tt := range []struct{ queues, types, concurrency int }{
		{1, 500, 8}, {50, 10, 8}, {1, 30, 2}, {1, 40, 8}, {1, 10, 8},
	} {
		if testing.Short() && tt.queues*tt.types > 100 {
			continue // fewer show the same races
		}
		t.Run(fmt.Sprintf("%d queues, %d types, %d slots", tt.queues, tt.types, tt.concurrency), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				started := make(chan time.Time, 1)
				mux := millhand.NewMux()
				for i := range tt.types {
					mux.HandleFunc(fmt.Sprintf("type%d", i), func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
						started <- time.Now()
						return nil, nil
					})
				}
				var queues []millhand.Queue
				for i := range tt.queues {
					queues = append(queues, millhand.Queue{Name: fmt.Sprintf("q%d", i)})
				}
				c, link := client(t, s.Connect(t)), s.Link()
				var asked atomic.Int64
				link.Watch(func(subject string) natstest.Fate {
					if strings.HasPrefix(subject, "$JS.API.CONSUMER.MSG.NEXT.") {
						asked.Add(1)
					}
					return natstest.Pass
				})
				start(t, link.Connect(t), millhand.WorkerConfig{Mux: mux, Queues: queues, Concurrency: tt.concurrency})
				time.Sleep(20 * time.Second)
				before := asked.Load()
				const seconds = 20
				time.Sleep(seconds * time.Second)
				requests := float64(asked.Load()-before) / seconds
				// Each that stands lives for a second, and so ends once more than there are seconds, at most.
				if most := float64((seconds+1)*min(tt.queues*tt.types, tt.concurrency+8)) / seconds; requests > most {
					t.Errorf("%.1f requests a second of an idle worker, want at most %.1f", requests, most)
				}
				r := rand.New(rand.NewPCG(1, 2))
				var took []time.Duration
				for range 15 {
					time.Sleep(time.Duration(r.IntN(5000)) * time.Millisecond)
					at := time.Now()
					args := millhand.Raw{Name: fmt.Sprintf("type%d", r.IntN(tt.types)), Payload: []byte("{}")}
					if _, err := c.Enqueue(t.Context(), args, millhand.WithQueue(fmt.Sprintf("q%d", r.IntN(tt.queues)))); err != nil {
						t.Fatal(err)
					}
					took = append(took, (<-started).Sub(at))
				}
				slices.Sort(took)
				median, worst := took[len(took)/2], took[len(took)-1]
				t.Logf("%.1f requests a second; a job starts after %v, at worst %v", requests, median, worst)
				if median > 300*time.Millisecond || worst > time.Second {
					t.Errorf("a job starts after %v, at worst %v; want 0.3 s, at worst 1 s", median, worst)
				}
			})
		})
	}
}

// Jobs of many types that come together all start within one turn of all types, on one worker of
// several: each hears of some jobs, and asks for the others in the types' turns. Retries start when
// they are due.
func TestManyTypesAtOnce(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		const types, slots, runs = 160, 8, 100 * time.Millisecond
		const standing = slots + 8 // requests of an idle worker, each of which lives for a second
		const turn = types*time.Second/standing + types/slots*runs
		var started, retried atomic.Int64
		var mu sync.Mutex
		var late time.Duration // the latest retry, after it was due
		mux := millhand.NewMux()
		for i := range types {
			var due time.Time
			mux.HandleFunc(fmt.Sprintf("type%d", i), func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
				if j.Attempt > 1 {
					retried.Add(1)
					mu.Lock()
					defer mu.Unlock()
					late = max(late, time.Since(due))
					return nil, nil
				}
				started.Add(1)
				time.Sleep(runs)
				if string(j.Args.Payload) == "fail" {
					mu.Lock()
					defer mu.Unlock()
					due = time.Now().Add(time.Minute)
					return nil, millhand.RetryAfter(time.Minute, errors.New("not yet"))
				}
				return nil, nil
			})
		}
		c := client(t, s.Connect(t))
		const workers = 2
		for range workers {
			start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: slots})
		}
		time.Sleep(time.Minute)
		for i := range types {
			args := millhand.Raw{Name: fmt.Sprintf("type%d", i), Payload: []byte("{}")}
			if i%16 == 0 {
				args.Payload = []byte("fail")
			}
			if _, err := c.Enqueue(t.Context(), args); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(turn)
		if n := started.Load(); n != types {
			t.Errorf("%d of %d jobs have started", n, types)
		}
		time.Sleep(time.Minute + time.Second)
		mu.Lock()
		defer mu.Unlock()
		if n := retried.Load(); n != types/16 || late > time.Second {
			t.Errorf("%d of %d retries have started, though all are due; at worst %v late", n, types/16, late)
		}
	})
}

// A broker that is far away is not silent: jobs of several queues are asked for as slots fall
// free, and none is written back since another queue had its slot meanwhile.
func TestBrokerFarAway(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		const slots, takes = 10, 20 * time.Second
		var ran, written atomic.Int64
		mux := millhand.NewMux()
		mux.HandleFunc("email", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			ran.Add(1)
			time.Sleep(takes)
			return nil, nil
		})
		c, link := client(t, s.Connect(t)), s.Link()
		link.Far(300 * time.Millisecond)
		link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "millhand.q") && !strings.HasSuffix(subject, ".pin") {
				written.Add(1)
			}
			return natstest.Pass
		})
		queues := []millhand.Queue{{Name: "q0"}, {Name: "q1"}, {Name: "q2"}}
		for _, q := range queues {
			for i := range 20 * slots {
				if _, err := c.Enqueue(t.Context(), email{To: strconv.Itoa(i)}, millhand.WithQueue(q.Name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		start(t, link.Connect(t), millhand.WorkerConfig{Mux: mux, Queues: queues, Concurrency: slots})
		time.Sleep(10 * takes)
		if got := ran.Load(); got < 8*slots {
			t.Errorf("%d jobs ran within the time of %d", got, 10*slots)
		}
		if got := written.Load(); got > slots {
			t.Errorf("%d jobs were written back for %d that ran", got, ran.Load())
		}
	})
}
