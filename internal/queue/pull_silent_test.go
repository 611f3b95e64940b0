package queue

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/slots"
)

// A type whose short jobs begin to hang is not asked for ahead any more: what is pulled and
// cannot start is written back once, not for ever.
func TestShortJobsThatBeginToHang(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const slots = 20
		var hangs atomic.Bool
		free := make(chan struct{})
		st := s.station("n", slots, func(*Delivery) Outcome {
			if hangs.Load() {
				<-free
			}
			return Outcome{Kind: job.EventSucceeded}
		})
		for i := range 50 {
			s.enqueue(fmt.Sprintf("quick%d", i))
		}
		s.sleep(10 * time.Second)
		hangs.Store(true)
		var writes atomic.Int64
		st.link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "millhand."+testQueue+".ready.") {
				writes.Add(1)
			}
			return natstest.Pass
		})
		for i := range 200 {
			s.enqueue(fmt.Sprintf("j%d", i))
		}
		s.sleep(10 * time.Minute)
		if n := writes.Load(); n > 4*slots {
			t.Errorf("%d jobs were written back within ten minutes, want at most what is asked for ahead once", n)
		}
		if n := len(st.runs()) - 50; n < slots {
			t.Errorf("%d jobs hang, want %d", n, slots)
		}
		close(free)
		s.sleep(time.Minute)
		if left := len(s.waiting()); left > 0 {
			t.Errorf("%d jobs are left though none hangs", left)
		}
	})
}

// quietFor has the broker not answer a node's requests about a queue.
func quietFor(n *node, queue string) {
	stream := "millhand-queue-" + queue
	n.link.Watch(func(subject string) natstest.Fate {
		if strings.HasPrefix(subject, "$JS.API.") && strings.Contains(subject, stream) {
			return natstest.Lost
		}
		return natstest.Pass
	})
}

// A queue that is silent, as one whose stream has no leader, holds no other up: not by its
// turn, nor by the slots that what it was asked for would take.
func TestSilentQueueHoldsNobodyUp(t *testing.T) {
	for _, tt := range []struct {
		name  string
		order slots.Order
	}{{"by weight", slots.ByWeight}, {"strict", slots.Strict}} {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				const silent, concurrency = "silent", 4
				if err := s.store.Open(s.ctx, silent); err != nil {
					t.Fatal(err)
				}
				for i := range 1200 {
					s.enqueue(fmt.Sprintf("j%03d", i))
				}
				for i := range 100 {
					r := s.record(fmt.Sprintf("s%d", i))
					r.Queue = silent
					if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
						t.Fatal(err)
					}
				}
				n := s.nodeOf("n", concurrency)
				n.slots = slots.New(concurrency, tt.order)
				heavy, light := n.slots.Source(9, silent, testType), n.slots.Source(1, testQueue, testType)
				busy := func(*Delivery) Outcome { s.sleep(100 * time.Millisecond); return Outcome{Kind: job.EventSucceeded} }
				other := s.stationOf(n, heavy, busy)
				st := s.stationOf(n, light, busy)
				s.sleep(time.Second)
				quietFor(n, silent)
				s.sleep(time.Second)
				before := len(other.runs())
				for range 20 {
					ran := len(st.runs())
					s.sleep(time.Second)
					if got := len(st.runs()) - ran; got < 2*concurrency {
						t.Errorf("%d jobs of the other queue ran within a second, want about %d", got, 10*concurrency)
					}
				}
				if got := len(other.runs()); got != before {
					t.Errorf("%d jobs of the silent queue ran", got-before)
				}
				n.link.Watch(nil)
				s.sleep(20 * time.Second)
				if got := len(other.runs()); got == before {
					t.Error("nothing of the queue ran after it was silent no more")
				}
			})
		})
	}
}
