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

// A swarm is a node whose events all go in batches if they can.
type swarm struct {
	*node
	tap  *tap
	jobs int // enqueued so far
}

// A tap counts what passes the broker.
type tap struct {
	mu sync.Mutex
	counts
}

type counts struct {
	single  int // events to be confirmed by themselves
	batched int
	batches map[string]bool // by the beginning of their replies
	ends    int             // of batches, asked for
	answers int             // to batches
}

func (s *scene) swarm(name string) *swarm {
	s.t.Helper()
	w := &swarm{node: s.node(name), tap: s.listen()}
	w.settler.mu.Lock() // it runs
	w.settler.crowd = -1
	w.settler.mu.Unlock()
	return w
}

// listen counts the events and answers of all nodes from now on.
func (s *scene) listen() *tap {
	s.t.Helper()
	p := &tap{counts: counts{batches: make(map[string]bool)}}
	for subject, f := range map[string]nats.MsgHandler{
		s.store.names.allEvents():   p.event,
		"_INBOX.*.*.*.fail.*.*.$FI": func(*nats.Msg) { p.mu.Lock(); p.answers++; p.mu.Unlock() },
	} {
		if _, err := s.store.nc.Subscribe(subject, f); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.store.nc.Flush(); err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (p *tap) event(m *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	batch, _, batched := strings.Cut(m.Reply, ".fail.")
	switch {
	case strings.HasSuffix(m.Reply, opEnd):
		p.ends++
	case batched:
		p.batched++
		p.batches[batch] = true
	default:
		p.single++
	}
}

// read returns what was counted since the last time.
func (p *tap) read() counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.counts
	p.counts = counts{batches: make(map[string]bool)}
	return got
}

// pullAll enqueues so many jobs and pulls them.
func (w *swarm) pullAll(jobs int) (held []*Delivery) {
	w.t.Helper()
	for range jobs {
		w.enqueue(fmt.Sprint(w.name, w.jobs))
		w.jobs++
		held = append(held, w.pull())
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
	for len(w.settler.room.jobs) > 0 {
		if time.Sleep(time.Millisecond); time.Since(began) > testWait {
			w.t.Fatalf("%d unsettled after %v", len(w.settler.room.jobs), testWait)
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
	if _, err := s.store.publish(s.ctx, m); err != nil {
		s.t.Fatal(err)
	}
	return life
}

// pause is how long no batch was to be begun after the last one that was refused.
func (w *swarm) pause() time.Duration {
	g := &w.settler.ingest
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pause
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

func TestEventsAreConfirmedTogether(t *testing.T) {
	for workers := 1; workers <= 3; workers++ { // the broker answers more often at first if there are several
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
					if took := w.settled(); took > 3*ingestPatience {
						t.Errorf("the last are confirmed after %v", took)
					}
					if n := w.renewer.InHand(); n != 0 {
						t.Errorf("the renewer still renews %d leases", n)
					}
					if n := len(w.settler.ingest.batches); n != 0 {
						t.Errorf("%d batches kept", n)
					}
				}
				got := swarms[0].tap.read()
				t.Logf("%d events, %d answers", got.batched, got.answers)
				if got.single != 0 || got.batched != workers*jobs {
					t.Errorf("%d events in batches and %d by themselves", got.batched, got.single)
				}
				if got.answers > workers*jobs/4 {
					t.Errorf("%d answers for %d events", got.answers, got.batched)
				}
				s.checkAll()
			})
		})
	}
}

// An event that is refused ends its batch, and for a while there is no other.
func TestRefusedEventEndsTheBatch(t *testing.T) {
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
				time.Sleep(ingestPause)
				w.burst(10)
				if got := w.tap.read(); got.batched != 10 || got.single != 0 {
					t.Errorf("later, %d events in batches and %d by themselves", got.batched, got.single)
				}
				if got := w.pause(); got != 0 {
					t.Errorf("pause %v after a batch that went well", got)
				}
				s.checkAll(older)
			})
		})
	}
}

// With an events stream that takes no batches, they are tried ever more rarely.
func TestEventsStreamWithoutBatches(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		allow := func(yes bool) {
			cfg := s.store.eventsConfig()
			cfg.AllowBatchPublish = yes
			if _, err := s.store.js.UpdateStream(s.ctx, cfg); err != nil {
				t.Fatal(err)
			}
		}
		allow(false)
		w := s.swarm("n")
		for pause := ingestPause; pause < 2*ingestPauseMax; pause *= 2 {
			w.tap.read()
			w.burst(3)
			if got := w.tap.read(); got.batched == 0 || got.single < 3 {
				t.Errorf("%d events in batches, %d by themselves", got.batched, got.single)
			}
			if got, want := w.pause(), min(pause, ingestPauseMax); got != want {
				t.Fatalf("pause %v, want %v", got, want)
			}
			time.Sleep(w.pause() / 2)
			w.burst(2)
			if got := w.tap.read(); got.batched != 0 || got.single != 2 {
				t.Errorf("while paused, %d events in batches, %d by themselves", got.batched, got.single)
			}
			time.Sleep(w.pause() / 2)
		}
		s.checkAll()
		allow(true)
		w.burst(3)
		if got := w.pause(); got != 0 {
			t.Errorf("pause %v once batches are taken", got)
		}
	})
}

// A batch is used again unless the broker may be about to drop it, which it does after 10 s.
func TestIdleBatch(t *testing.T) {
	for idle, batches := range map[time.Duration]int{time.Second: 1, 4 * time.Second: 1, 6 * time.Second: 2, 11 * time.Second: 2} {
		t.Run(idle.String(), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				w := s.swarm("n")
				w.burst(2 * ingestEvery) // all confirmed without an end
				time.Sleep(idle)
				w.burst(40)
				got := w.tap.read()
				if len(got.batches) != batches || got.single != 0 || w.pause() != 0 {
					t.Errorf("%d batches, %d events by themselves, pause %v", len(got.batches), got.single, w.pause())
				}
				s.checkAll()
			})
		})
	}
}

// A batch that is full is followed by another.
func TestBatchIsFull(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		w := s.swarm("n")
		const jobs = ingestBatch + 100
		time.Sleep(time.Millisecond) // the settler runs
		for i := range jobs {
			h, err := w.store.hold(&nats.Msg{ // there is no such message, so that its ack does nothing
				Subject: s.store.names.ready(testPlace(strconv.Itoa(i))),
				Reply:   fmt.Sprintf("$JS.ACK.none.none.1.%d.%d.%d.0", i+1, i+1, time.Now().UnixNano()),
			}, queueName(), typeName(), testWait, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			w.succeed([]*Delivery{h})
		}
		if took := w.settled(); took > 3*ingestPatience {
			t.Errorf("settled after %v", took)
		}
		got := w.tap.read()
		t.Logf("%d events in %d batches, %d answers", got.batched, len(got.batches), got.answers)
		if got.single != 0 || got.batched != jobs || len(got.batches) != 2 || got.answers > jobs/16 {
			t.Errorf("%d events in batches, %d by themselves, %d answers", got.batched, got.single, got.answers)
		}
		if n := len(s.events()); n != jobs {
			t.Errorf("%d events are stored, want %d", n, jobs)
		}
	})
}

// A settler that is to end waits for a batch, and not for long.
func TestSettlerEndsWithABatchOpen(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		w := s.swarm("n")
		settler := NewSettler(w.store, w.renewer)
		settler.crowd = -1
		n := w.node // whose own settler runs, and has nothing to do
		w.node = &node{scene: s, name: n.name, link: n.link, nc: n.nc, store: n.store, renewer: n.renewer, settler: settler}
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		ended := make(chan struct{})
		go func() { defer close(ended); _ = settler.Run(ctx) }()
		time.Sleep(time.Millisecond)
		w.burst(2 * ingestEvery)
		held := w.pullAll(40)
		w.link.Slow(10 * time.Millisecond)
		w.succeed(held)
		began := time.Now()
		cancel()
		<-ended
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("ended after %v", took)
		}
		if n := len(settler.room.jobs); n != 0 {
			t.Errorf("ended with %d unsettled", n)
		}
		w.link.Slow(0)
		time.Sleep(time.Second)
		s.checkAll()
	})
}
