package queue

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
)

// shifts counts the handlers of each job, and lets them run until they are stopped or done.
type shifts struct {
	mu     sync.Mutex
	starts int
	now    map[string]int
	most   int
	causes []error
}

// work is a handler that takes d, and after it is told to stop so much longer.
func (w *shifts) work(d, slow time.Duration) func(*Delivery) Outcome {
	return func(h *Delivery) Outcome {
		w.mu.Lock()
		if w.now == nil {
			w.now = make(map[string]int)
		}
		w.starts++
		w.now[h.ID]++
		w.most = max(w.most, w.now[h.ID])
		w.mu.Unlock()
		stop := make(chan error, 1)
		h.OnLost(func(cause error) { stop <- cause })
		timer := time.NewTimer(d)
		defer timer.Stop()
		var cause error
		select {
		case <-timer.C:
		case cause = <-stop:
			time.Sleep(slow)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now[h.ID]--
		if cause != nil {
			w.causes = append(w.causes, cause)
		}
		return Outcome{Kind: job.EventSucceeded}
	}
}

func (w *shifts) check(t *testing.T, starts int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.most > 1 {
		t.Errorf("a job ran %d times at once in one worker", w.most)
	}
	if w.starts > starts {
		t.Errorf("%d starts, want no more than %d", w.starts, starts)
	}
	for _, cause := range w.causes {
		if !errors.Is(cause, ErrLeaseLost) {
			t.Errorf("a job was stopped with %v", cause)
		}
	}
}

// Whoever removes a consumer has all its jobs handed out again, those that run as well.
func TestConsumerIsRemovedWhileJobsRun(t *testing.T) {
	for _, slots := range []int{4, 8} {
		t.Run(fmt.Sprintf("%d slots", slots), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				var w shifts
				s.station("n", slots, w.work(time.Minute, 2*time.Second))
				var lives []string
				for i := range 4 {
					lives = append(lives, s.enqueue(fmt.Sprintf("j%d", i)).Life)
				}
				s.sleep(5 * time.Second)
				if err := s.store.js.DeleteConsumer(s.ctx, s.store.names.queueStream(queueName()), testType); err != nil {
					t.Fatal(err)
				}
				s.sleep(5 * time.Minute)
				w.check(t, 8)
				s.checkEnded(lives...)
				for _, life := range lives {
					if got := s.kinds(life); got != "succeeded" {
						t.Errorf("%s: %s; no worker vanished", life, got)
					}
				}
			})
		})
	}
}

// The same with nobody to see it: made again by somebody else at once, while all slots are taken.
func TestConsumerIsMadeAnewByAnother(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		var w shifts
		s.station("n", 1, w.work(time.Minute, time.Second))
		r := s.enqueue("j")
		s.sleep(5 * time.Second)
		name := s.store.names.queueStream(queueName())
		if err := s.store.js.DeleteConsumer(s.ctx, name, testType); err != nil {
			t.Fatal(err)
		}
		if err := s.store.CheckLease(s.ctx, testQueue, testType); err != nil {
			t.Fatal(err)
		}
		s.sleep(testWait)
		w.mu.Lock()
		if len(w.causes) != 1 {
			t.Errorf("%d jobs were stopped within a lease, want the one that ran", len(w.causes))
		}
		w.mu.Unlock()
		s.sleep(3 * time.Minute)
		w.check(t, 2)
		s.checkEnded(r.Life)
	})
}

// A shorter lease is the broker's at once: it hands out again what was not renewed so often.
func TestAckWaitIsLoweredWhileJobsRun(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.nodeOf("n", 8)
		n.store.cfg.AckWait = 0
		var w shifts
		s.stationAt(n, w.work(time.Minute, time.Second), func(*slots.Slots) {})
		var lives []string
		for i := range 4 {
			lives = append(lives, s.enqueue(fmt.Sprintf("j%d", i)).Life)
		}
		s.sleep(9 * time.Second)
		s.editAckWait(5 * time.Second)
		s.sleep(5 * time.Minute)
		w.check(t, 4)
		s.checkEnded(lives...)
		for _, life := range lives {
			if got := s.kinds(life); got != "succeeded" {
				t.Errorf("%s: %s", life, got)
			}
		}
	})
}

// Of two workers, the other may get what the first one has: that one stops, and it counts a
// crash at most once.
func TestAckWaitIsLoweredForTwo(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		var works [2]shifts
		for i := range works {
			n := s.nodeOf(fmt.Sprintf("n%d", i), 2)
			n.store.cfg.AckWait = 0
			s.stationAt(n, works[i].work(time.Minute, time.Second), func(*slots.Slots) {})
		}
		var lives []string
		for i := range 4 {
			lives = append(lives, s.enqueue(fmt.Sprintf("j%d", i)).Life)
		}
		s.sleep(9 * time.Second)
		s.editAckWait(5 * time.Second)
		s.sleep(10 * time.Minute)
		works[0].check(t, 8)
		works[1].check(t, 8)
		s.checkEnded(lives...)
		for _, life := range lives {
			if got := strings.Count(s.kinds(life), "lost"); got > 1 {
				t.Errorf("%s: %s", life, s.kinds(life))
			}
		}
	})
}

// A worker that was told which lease to give ends rather than to give another.
func TestAckWaitIsNotTheOneAskedFor(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.nodeOf("n", 2)
		source := n.slots.Source(1, testQueue, testType)
		p, err := NewPuller(n.settler, source)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		n.ended.Go(func() { ended <- p.Run(s.ctx) })
		s.sleep(time.Second)
		s.editAckWait(5 * time.Second)
		if err := n.nc.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrAckWait) || !strings.Contains(err.Error(), "nats consumer edit") {
			t.Errorf("the puller ended with %v", err)
		}
	})
}

func (s *scene) editAckWait(d time.Duration) {
	s.t.Helper()
	s.editConsumer(func(c *jetstream.ConsumerConfig) { c.AckWait = d })
}

// editConsumer is what an operator does with nats consumer edit.
func (s *scene) editConsumer(edit func(*jetstream.ConsumerConfig)) {
	s.t.Helper()
	name := s.store.names.queueStream(queueName())
	c, err := s.store.js.Consumer(s.ctx, name, testType)
	if err != nil {
		s.t.Fatalf("look up consumer: %v", err)
	}
	cfg := c.CachedInfo().Config
	edit(&cfg)
	if _, err := s.store.js.UpdateConsumer(s.ctx, name, cfg); err != nil {
		s.t.Fatalf("edit consumer: %v", err)
	}
}

// A restart of the broker leaves its consumers what they are.
func TestBrokerRestartLeavesLeases(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		var w shifts
		s.station("n", 2, w.work(20*time.Second, 0))
		r := s.enqueue("j")
		s.sleep(time.Second)
		s.server.Stop()
		s.server.Start(t)
		s.sleep(time.Minute)
		w.check(t, 1)
		s.checkEnded(r.Life)
	})
}

// A consumer that somebody paused is not deaf.
func TestPausedConsumer(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("n", 2, succeed)
		s.sleep(time.Second)
		name := s.store.names.queueStream(queueName())
		if _, err := s.store.js.PauseConsumer(s.ctx, name, testType, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		r := s.enqueue("j")
		s.sleep(30 * time.Minute)
		if got := st.store.Rebuilt(); got != 0 {
			t.Errorf("%d subscriptions were made again while the consumer was paused", got)
		}
		if _, err := s.store.js.ResumeConsumer(s.ctx, name, testType); err != nil {
			t.Fatal(err)
		}
		s.sleep(time.Minute)
		s.checkEnded(r.Life)
	})
}
