package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stages"
)

// station is a node with a puller, and a consumer that takes all it is asked to.
type station struct {
	*node
	puller *Puller

	mu  sync.Mutex
	ran []*Delivery // in the order of their coming
}

// station pulls from now on. do decides on each job and is called in a goroutine of its own;
// it returns what it ended with.
func (s *scene) station(name string, concurrency int, do func(*Delivery) Outcome) *station {
	s.t.Helper()
	return s.stationAt(s.nodeOf(name, concurrency), do, func(*slots.Slots) {})
}

// stationAt is station with a node that is there, its slots set up first.
func (s *scene) stationAt(n *node, do func(*Delivery) Outcome, setUp func(*slots.Slots)) *station {
	s.t.Helper()
	setUp(n.slots)
	return s.stationOf(n, n.slots.Source(1, testQueue, testType), do)
}

// stationOf is station with a node and its source for a type of a queue.
func (s *scene) stationOf(n *node, source *slots.Source, do func(*Delivery) Outcome) *station {
	s.t.Helper()
	st := &station{node: n}
	var err error
	if st.puller, err = NewPuller(st.settler, source); err != nil {
		s.t.Fatalf("puller: %v", err)
	}
	consumer, err := stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[*Delivery]{
		Restart: stages.Temporary, Grace: new(time.Duration(0)),
		Start: func(ctx context.Context, h *Delivery, slot stages.Slot[*Delivery]) error {
			st.ended.Go(func() {
				defer slot.Ended(nil)
				defer h.Finished()
				switch err := h.Start(ctx); {
				case errors.Is(err, slots.ErrNoPermit), errors.Is(err, slots.ErrNoSlot):
					st.settler.Settle(h, Outcome{})
					return
				case err != nil:
					return
				}
				st.mu.Lock()
				st.ran = append(st.ran, h)
				st.mu.Unlock()
				if o := do(h); h.Alive() == nil {
					st.settler.Settle(h, o)
				}
			})
			return nil
		},
		Hooks: stages.Hooks[*Delivery]{
			OnSubscribe: func(sub *stages.Subscription[*Delivery]) { source.Open(sub.Ask) },
			OnCancel:    func(*stages.Subscription[*Delivery], error) { source.Shut() },
			OnReturn:    func(_ *stages.Subscription[*Delivery], n int) { source.Returned(n) },
		},
	})
	if err != nil {
		s.t.Fatalf("consumer: %v", err)
	}
	if _, err := consumer.Subscribe(st.puller.Stage(), stages.SubscribeOptions[*Delivery]{
		Manual: true, Cancel: stages.Temporary, Resubscribe: true,
	}); err != nil {
		s.t.Fatalf("subscribe: %v", err)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	stop := st.stop
	st.stop = func() { cancel(); stop() }
	st.ended.Go(func() { _ = st.puller.Run(ctx) })
	st.ended.Go(func() { _ = consumer.Run(ctx) })
	return st
}

func (st *station) runs() []*Delivery {
	st.mu.Lock()
	defer st.mu.Unlock()
	return append([]*Delivery(nil), st.ran...)
}

func succeed(*Delivery) Outcome { return Outcome{Kind: job.EventSucceeded} }

func TestPullerRunsWhatComes(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		var lives []string
		for i := range 50 {
			lives = append(lives, s.enqueue(fmt.Sprintf("j%d", i)).Life)
		}
		st := s.station("n", 4, succeed)
		s.sleep(time.Minute)
		lives = append(lives, s.enqueue("late").Life)
		s.sleep(100 * time.Millisecond)
		s.checkEnded(lives...)
		if got := len(st.runs()); got != 51 {
			t.Errorf("%d runs, want 51", got)
		}
		if got := st.slots.InHand(); got != 0 {
			t.Errorf("%d in hand", got)
		}
	})
}

// No more are in hand than fit, whatever waits.
func TestPullerAsksForWhatFits(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		for i := range 40 {
			s.enqueue(fmt.Sprintf("j%d", i))
		}
		st := s.station("n", 3, func(*Delivery) Outcome { s.sleep(time.Second); return Outcome{Kind: job.EventSucceeded} })
		began := time.Now()
		for len(s.waiting()) > 0 {
			if got := st.slots.InHand(); got > 3 {
				t.Fatalf("%d in hand", got)
			}
			s.sleep(100 * time.Millisecond)
		}
		if took := time.Since(began); took > 16*time.Second {
			t.Errorf("40 jobs of 1 s, 3 at once, took %v", took)
		}
	})
}

// Two workers of one queue that disagree about the lease: the consumer's value holds, and
// who asked for another is told.
func TestLeaseIsTheConsumers(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		nc := s.server.Link().Connect(t)
		if err := s.open(nc, Config{AckWait: time.Second}).CheckLease(s.ctx, testQueue, testType); err == nil || !strings.Contains(err.Error(), "nats consumer edit") {
			t.Errorf("CheckLease with another ack wait = %v", err)
		}
		got, err := s.open(nc, Config{}).ensureConsumer(s.ctx, queueName(), typeName())
		if err != nil || got.wait() != testWait {
			t.Errorf("ensureConsumer without an ack wait = %v, %v, want %v", got, err, testWait)
		}
		c, err := s.store.js.Consumer(s.ctx, s.store.names.queueStream(queueName()), testType)
		if err != nil {
			t.Fatal(err)
		}
		if cfg := c.CachedInfo().Config; cfg.AckWait != testWait || cfg.MaxDeliver != -1 || cfg.MaxAckPending != -1 ||
			len(cfg.BackOff) != 0 || cfg.FilterSubject != "millhand.q.ready.t.*" {
			t.Errorf("consumer %+v", cfg)
		}
	})
}
