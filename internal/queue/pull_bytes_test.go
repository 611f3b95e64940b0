package queue

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
)

// request is a pull request as the broker sees it.
type request struct {
	Batch    int  `json:"batch"`
	MaxBytes int  `json:"max_bytes"`
	NoWait   bool `json:"no_wait"`
}

// requests returns what is asked of the broker from now on.
func (s *scene) requests() func() []request {
	s.t.Helper()
	var mu sync.Mutex
	var all []request
	nc := s.server.Connect(s.t)
	_, err := nc.Subscribe("$JS.API.CONSUMER.MSG.NEXT.>", func(m *nats.Msg) {
		var r request
		if err := json.Unmarshal(m.Data, &r); err != nil {
			s.t.Errorf("pull request %q: %v", m.Data, err)
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, r)
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		s.t.Fatalf("subscribe: %v", err)
	}
	return func() []request {
		mu.Lock()
		defer mu.Unlock()
		return append([]request(nil), all...)
	}
}

// enqueueLarge stores a job with so many bytes of payload.
func (s *scene) enqueueLarge(id string, bytes int) *job.Record {
	s.t.Helper()
	r := s.record(id)
	r.Payload = []byte(strings.Repeat("x", bytes))
	if err := s.store.Enqueue(s.ctx, Enqueue{Record: r, Once: true}); err != nil {
		s.t.Fatalf("enqueue %s: %v", id, err)
	}
	return r
}

// Whatever is asked for has a bound in bytes, and what is larger than that comes alone.
func TestPullsAreBoundedInBytes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		flight int
		sizes  []int // of job after job
	}{
		{"large", maxFlight, []int{900_000}},
		{"small, then large", maxFlight, []int{1, 1, 1, 1, 1, 1, 1, 1, 900_000}},
		{"larger than any bound", 100_000, []int{300_000}},
		{"small and larger than any bound", 100_000, []int{10, 300_000, 50_000}},
		{"just as large", 1 << 20, []int{1<<19 - 150}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				var lives []string
				for i := range 60 {
					lives = append(lives, s.enqueueLarge(fmt.Sprintf("j%02d", i), tt.sizes[i%len(tt.sizes)]).Life)
				}
				asked := s.requests()
				n := s.nodeOf("n", 50)
				s.stationAt(n, func(*Delivery) Outcome { s.sleep(time.Millisecond); return Outcome{Kind: job.EventSucceeded} },
					func(g *Gate) { g.demand.budget.flight = tt.flight })
				s.sleep(5 * time.Second)
				s.checkEnded(lives...)
				all := asked()
				for _, r := range all {
					if limit := min(maxPullBytes, tt.flight); r.Batch > 1 && (r.MaxBytes <= 0 || r.MaxBytes > limit) {
						t.Errorf("asked for %d jobs of at most %d bytes, want at most %d", r.Batch, r.MaxBytes, limit)
					}
				}
				if most := 3*60 + 10; len(all) > most { // two requests for a large job, and those that stand
					t.Errorf("%d requests for 60 jobs, want at most %d", len(all), most)
				}
				if n.gate.Rebuilt() > 0 {
					t.Errorf("subscribed anew %d times", n.gate.Rebuilt())
				}
			})
		})
	}
}

// A plan never asks for more bytes than the budget leaves, but for a job that is alone; and
// however large jobs are, some are asked for.
func TestBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWheel(t, rapid.IntRange(1, 40).Draw(t, "concurrency"), rapid.SliceOfN(rapid.IntRange(1, 9), 1, 12).Draw(t, "weights")...)
		w.budget = budget{flight: rapid.IntRange(1, 1000).Draw(t, "flight"), hand: rapid.IntRange(0, 2000).Draw(t, "hand")}
		size := rapid.IntRange(1, 1500).Draw(t, "size")
		for _, s := range w.sources {
			s.size = size
		}
		w.turn()
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if asked := w.with(func(s *source) bool { return w.left[s] > 0 }); len(asked) > 0 && rapid.Bool().Draw(t, "deliver") {
				s := rapid.SampledFrom(asked).Draw(t, "source")
				n := rapid.IntRange(1, w.left[s]).Draw(t, "n")
				w.weigh(s, n*size, size)
				w.deliver(s, n, rapid.Uint64Range(0, 1000).Draw(t, "backlog"))
			} else if running := w.with(func(s *source) bool { return w.running[s] > 0 }); len(running) > 0 {
				w.bytes -= size
				w.finish(rapid.SampledFrom(running).Draw(t, "source"), time.Duration(rapid.IntRange(1, 1e9).Draw(t, "ran")))
			}
			asked := w.asked()
			if asked > 1 && asked*size > w.budget.flight {
				t.Fatalf("%d jobs of %d bytes are asked for, the budget is %d", asked, size, w.budget.flight)
			}
			if inHand := w.bytes/size + asked; w.budget.hand > 0 && inHand > 1 && inHand*size > w.budget.hand {
				t.Fatalf("%d jobs of %d bytes are in hand or asked for, the budget is %d", inHand, size, w.budget.hand)
			}
			if asked == 0 && w.inHand == 0 {
				t.Fatal("nothing is asked for though nothing is in hand")
			}
		}
	})
}
