package queue

import (
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
)

// sentRequest is a pull request as the broker sees it.
type sentRequest struct {
	Batch    int  `json:"batch"`
	MaxBytes int  `json:"max_bytes"`
	NoWait   bool `json:"no_wait"`
}

// requests returns what is asked of the broker from now on.
func (s *scene) requests() func() []sentRequest {
	s.t.Helper()
	var mu sync.Mutex
	var all []sentRequest
	nc := s.server.Connect(s.t)
	_, err := nc.Subscribe("$JS.API.CONSUMER.MSG.NEXT.>", func(m *nats.Msg) {
		var r sentRequest
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
	return func() []sentRequest {
		mu.Lock()
		defer mu.Unlock()
		return append([]sentRequest(nil), all...)
	}
}

// enqueueLarge stores a job with this many bytes of payload.
func (s *scene) enqueueLarge(id string, bytes int) *job.Record {
	s.t.Helper()
	r := s.record(id)
	r.Payload = []byte(strings.Repeat("x", bytes))
	if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
		s.t.Fatalf("enqueue %s: %v", id, err)
	}
	return r
}

// Whatever is asked for has a bound in bytes, and what is larger than that comes alone.
func TestPullsAreBoundedInBytes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		memory int   // that Go may use; 0: as much as it wants
		most   int   // bytes of a pull for more than one job
		sizes  []int // of job after job
	}{
		{"large", 0, 16 << 20, []int{900_000}},
		{"small, then large", 0, 16 << 20, []int{1, 1, 1, 1, 1, 1, 1, 1, 900_000}},
		{"larger than any bound", 800_000, 100_000, []int{300_000}},
		{"small and larger than any bound", 800_000, 100_000, []int{10, 300_000, 50_000}},
		{"just as large", 8 << 20, 1 << 20, []int{1<<19 - 150}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				var lives []string
				for i := range 60 {
					lives = append(lives, s.enqueueLarge(fmt.Sprintf("j%02d", i), tt.sizes[i%len(tt.sizes)]).Life)
				}
				asked := s.requests()
				n := s.nodeOf("n", 50)
				if tt.memory > 0 { // only while the slots read it
					before := debug.SetMemoryLimit(int64(tt.memory))
					n.slots = slots.New(50, slots.ByWeight)
					debug.SetMemoryLimit(before)
				}
				s.stationAt(n, func(*Delivery) Outcome { s.sleep(time.Millisecond); return Outcome{Kind: job.EventSucceeded} }, func(*slots.Slots) {})
				s.sleep(5 * time.Second)
				s.checkEnded(lives...)
				all := asked()
				for _, r := range all {
					if r.Batch > 1 && (r.MaxBytes <= 0 || r.MaxBytes > tt.most) {
						t.Errorf("asked for %d jobs of at most %d bytes, want at most %d", r.Batch, r.MaxBytes, tt.most)
					}
				}
				if most := 3*60 + 10; len(all) > most { // two requests for a large job, and those that stand
					t.Errorf("%d requests for 60 jobs, want at most %d", len(all), most)
				}
				if n.store.Rebuilt() > 0 {
					t.Errorf("subscribed again %d times", n.store.Rebuilt())
				}
			})
		})
	}
}
