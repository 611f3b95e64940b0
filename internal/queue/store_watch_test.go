package queue

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// watch runs a watch over the queues of a node, until the test ends.
func (n *node) watch(queues ...string) *Watch {
	w := NewWatch(n.store, n.slots, queues)
	ctx, stop := context.WithCancel(n.ctx)
	n.ended.Go(func() { _ = w.Run(ctx) })
	before := n.stop
	n.stop = func() { stop(); before() }
	return w
}

// A queue whose stream stores nothing holds no other up, though an end of a job of it is waiting.
func TestQueueThatStoresNothingHoldsNobodyUp(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const silent, jobs = "silent", 100
		if err := s.store.Open(s.ctx, silent); err != nil {
			t.Fatal(err)
		}
		n := s.nodeOf("n", 4)
		other, source := n.slots.Source(1, silent, testType), n.slots.Source(1, testQueue, testType)
		w := n.watch(silent, testQueue)
		s.stationOf(n, other, func(*Delivery) Outcome {
			s.sleep(2 * time.Second)
			return Outcome{Kind: job.EventRetrying, Error: "e"}
		})
		st := s.stationOf(n, source, func(*Delivery) Outcome { return Outcome{Kind: job.EventSucceeded} })
		r := s.record("waits")
		r.Queue = silent
		if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
			t.Fatal(err)
		}
		s.sleep(time.Second)
		n.link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "millhand."+silent+".") || strings.HasPrefix(subject, "$JS.API.") && strings.Contains(subject, "-queue-"+silent) {
				return natstest.Lost
			}
			return natstest.Pass
		})
		s.sleep(20 * time.Second)
		if w.Err() == nil {
			t.Fatal("nobody has found out that the queue stores nothing")
		}
		for i := range jobs {
			s.enqueue(fmt.Sprintf("j%d", i))
		}
		s.sleep(10 * time.Second)
		if got := len(st.runs()); got != jobs {
			t.Errorf("%d of %d jobs of the other queue ran", got, jobs)
		}
		s.sleep(10 * time.Minute)
		if got := len(s.waiting()); got > 1 {
			t.Errorf("%d probes have piled up in the other queue", got)
		}
		n.link.Watch(nil)
		s.sleep(time.Minute)
		if err := w.Err(); err != nil {
			t.Errorf("all queues store again, and the watch says %v", err)
		}
	})
}

// A stream that was lost while the slots are shut is made again, though no job is there to ask for it.
func TestMissingStreamIsMadeAnewWithTheGateShut(t *testing.T) {
	inScene(t, func(_ *testing.T, s *scene) {
		n := s.nodeOf("n", 1)
		n.watch(testQueue)
		s.stationOf(n, n.slots.Source(1, testQueue, testType), func(*Delivery) Outcome { return Outcome{Kind: job.EventSucceeded} })
		s.sleep(time.Second)
		s.lose(s.store.names.eventStream())
		n.store.Doubt()
		s.sleep(5 * time.Second) // so that no request stands that could bring a job
		r := s.enqueue("a")
		s.sleep(10 * time.Second)
		s.checkEnded(r.Life)
	})
}
