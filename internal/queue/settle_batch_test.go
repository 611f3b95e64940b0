package queue

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
)

// batchesResume is longer than the pause after any batch that broke.
const batchesResume = 2 * time.Minute

// A swarm is a node whose events all go in batches if they can.
type swarm struct {
	*node
	tap  *tap
	jobs int // enqueued so far
}

// A tap counts the events that pass the broker.
type tap struct {
	mu sync.Mutex
	counts
}

type counts struct {
	single  int // to be confirmed by themselves
	batched int
}

func (s *scene) swarm(name string) *swarm {
	s.t.Helper()
	w := &swarm{node: s.node(name), tap: s.listen()}
	w.settler.tracker.mu.Lock() // it runs
	w.settler.tracker.batchAbove = -1
	w.settler.tracker.mu.Unlock()
	return w
}

// listen counts the events of all nodes from now on.
func (s *scene) listen() *tap {
	s.t.Helper()
	p := new(tap)
	if _, err := s.store.nc.Subscribe(s.store.names.allEvents(), p.event); err != nil {
		s.t.Fatal(err)
	}
	if err := s.store.nc.Flush(); err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (p *tap) event(m *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if strings.HasSuffix(m.Reply, ".$FI") {
		p.batched++
	} else {
		p.single++
	}
}

// read returns what was counted since the last time.
func (p *tap) read() counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.counts
	p.counts = counts{}
	return got
}

// pullAll enqueues so many jobs and pulls them.
func (w *swarm) pullAll(jobs int) (held []*Delivery) {
	w.t.Helper()
	for range jobs {
		w.enqueue(fmt.Sprint(w.name, w.jobs))
		w.jobs++
		h := w.pull()
		h.Reused = false // so that nobody looks, and avoids what is refused
		held = append(held, h)
	}
	return held
}

// succeed settles jobs at the same moment.
func (w *swarm) succeed(held []*Delivery) {
	for _, h := range held {
		w.settler.Settle(h, Outcome{Kind: job.EventSucceeded})
	}
}

// settled waits until nothing is open, and returns how long that took.
func (w *swarm) settled() time.Duration {
	w.t.Helper()
	began := time.Now()
	for w.unsettled() > 0 {
		if time.Sleep(time.Millisecond); time.Since(began) > testWait {
			w.t.Fatalf("%d unsettled after %v", w.unsettled(), testWait)
		}
	}
	took := time.Since(began)
	time.Sleep(time.Millisecond) // acks are not confirmed
	return took
}

func (w *swarm) burst(jobs int) []*Delivery {
	w.t.Helper()
	held := w.pullAll(jobs)
	w.succeed(held)
	w.settled()
	return held
}

// precede has an older life of the job's id end after the job was pulled, so that the
// first condition of its event does not hold. It returns that life.
func (s *scene) precede(h *Delivery) (life string) {
	s.t.Helper()
	life = "before " + h.Life
	m, err := s.store.eventMsg(h.place, &Event{Kind: job.EventSucceeded, Life: life, Seq: 1})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.store.client.Publish(s.ctx, m); err != nil {
		s.t.Fatal(err)
	}
	return life
}

// allEnded fails the test unless all jobs so far, and other lives, have ended once.
func (s *scene) allEnded(others ...string) {
	s.t.Helper()
	lives := others
	for i := range s.lives {
		lives = append(lives, fmt.Sprintf("life-%d", i+1))
	}
	s.checkEnded(lives...)
}

// checkAll fails the test unless they succeeded, and nothing else happened to them.
func (s *scene) checkAll(others ...string) {
	s.t.Helper()
	s.allEnded(others...)
	for life, events := range s.events() {
		if len(events) != 1 || events[0].Kind != job.EventSucceeded {
			s.t.Errorf("%s: events %s, want succeeded", life, s.kinds(life))
		}
	}
}

// Ends of many jobs at a time are written in batches, and all of them.
func TestEventsOfManyJobsGoInBatches(t *testing.T) {
	for workers := 1; workers <= 3; workers++ {
		t.Run(strconv.Itoa(workers), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				const jobs = 100
				var swarms []*swarm
				for i := range workers {
					swarms = append(swarms, s.swarm(fmt.Sprint("n", i)))
				}
				var held [][]*Delivery
				for _, w := range swarms {
					held = append(held, w.pullAll(jobs))
				}
				for i, w := range swarms {
					for _, h := range held[i] {
						w.renewer.Keep(h)
					}
					w.succeed(held[i])
				}
				for _, w := range swarms {
					if took := w.settled(); took > 12*time.Millisecond {
						t.Errorf("the last are settled after %v", took)
					}
					if n := w.renewer.InHand(); n != 0 {
						t.Errorf("the renewer still renews %d leases", n)
					}
				}
				if got := swarms[0].tap.read(); got.single != 0 || got.batched < workers*jobs {
					t.Errorf("%d events in batches and %d by themselves", got.batched, got.single)
				}
				s.checkAll()
			})
		})
	}
}

// Whatever of a batch is not stored is written step by step, and so is what comes soon after.
func TestRefusedEventAmongMany(t *testing.T) {
	for _, at := range []int{0, 1, 20, 39} {
		t.Run(strconv.Itoa(at), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				w := s.swarm("n")
				held, next := w.pullAll(40), w.pullAll(10)
				older := s.precede(held[at])
				w.succeed(held)
				if took := w.settled(); took > time.Second {
					t.Errorf("settled after %v", took)
				}
				w.tap.read()
				w.succeed(next)
				w.settled()
				if got := w.tap.read(); got.batched != 0 || got.single != 10 {
					t.Errorf("soon after, %d events in batches and %d by themselves", got.batched, got.single)
				}
				s.checkAll(older)
			})
		})
	}
}

// With an events stream that takes no batches, all events are confirmed by themselves.
func TestEventsStreamWithoutBatches(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		cfg := s.store.eventsConfig()
		cfg.AllowBatchPublish = false
		if _, err := s.store.js.UpdateStream(s.ctx, cfg); err != nil {
			t.Fatal(err)
		}
		w := s.swarm("n")
		for range 10 {
			w.burst(3)
			time.Sleep(10 * time.Second)
		}
		if got := w.tap.read(); got.single < 30 {
			t.Errorf("%d events in batches, %d by themselves", got.batched, got.single)
		}
		s.checkAll()
	})
}

// A settler that is to end waits for a batch, and not for long.
func TestSettlerEndsWithABatchOpen(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		w := s.swarm("n")
		settler := NewSettler(w.store, w.renewer)
		settler.tracker.batchAbove = -1
		n := w.node // whose own settler runs, and has nothing to do
		w.node = &node{scene: s, name: n.name, link: n.link, nc: n.nc, store: n.store, renewer: n.renewer, settler: settler}
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		ended := make(chan struct{})
		go func() { defer close(ended); _ = settler.Run(ctx) }()
		time.Sleep(time.Millisecond)
		w.burst(128)
		held := w.pullAll(40)
		w.link.Slow(10 * time.Millisecond)
		w.succeed(held)
		began := time.Now()
		cancel()
		<-ended
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("ended after %v", took)
		}
		if n := settler.room.jobs.Load(); n != 0 {
			t.Errorf("ended with %d unsettled", n)
		}
		w.link.Slow(0)
		time.Sleep(time.Second)
		s.checkAll()
	})
}
