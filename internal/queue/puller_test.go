package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/stream"
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

// A delivery that was read too late is not run: another has the job by then.
func TestLateDeliveryIsDropped(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("slow", 1, succeed)
		other := s.node("other")
		s.sleep(100 * time.Millisecond) // its request stands
		st.link.Hold()                  // SIGSTOP
		r := s.enqueue("a")
		s.sleep(testWait)
		h := other.pull()
		if h.Delivered != 2 {
			t.Fatalf("delivery %d, want the second", h.Delivered)
		}
		st.link.Release()
		s.sleep(time.Second)
		if got := len(st.runs()); got != 0 {
			t.Errorf("the late worker ran it %d times", got)
		}
		if err := other.redelivered(h); err != nil {
			t.Fatal(err)
		}
		s.sleep(time.Minute)
		s.checkEnded(r.Life)
		if got := s.kinds(r.Life); got != "lost succeeded" {
			t.Errorf("events %s", got)
		}
	})
}

// A delivery other than the first is settled, never run.
func TestRedeliveryIsNeverRun(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		gone := s.node("gone")
		seq := gone.pull().Seq
		gone.crash()
		st := s.station("n", 1, succeed)
		s.sleep(2 * testWait)
		s.checkEnded(r.Life)
		for _, h := range st.runs() {
			if h.Delivered != 1 || h.Seq == seq {
				t.Errorf("ran delivery %d of sequence %d", h.Delivered, h.Seq)
			}
		}
		if got := s.kinds(r.Life); got != "lost succeeded" {
			t.Errorf("events %s", got)
		}
	})
}

// What must never run ends as dead with its reason, and stops nobody.
func TestBadMessagesEndDead(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		bad := map[string]struct {
			id     string
			header nats.Header
			reason string
		}{
			"broken count":    {"a", nats.Header{job.HeaderAttempt: {"many"}}, job.ReasonMalformed},
			"broken duration": {"b", nats.Header{job.HeaderTimeout: {"soon"}}, job.ReasonMalformed},
			"bad id":          {"a b$c", nil, job.ReasonMalformed},
			"long id":         {strings.Repeat("x", 200), nil, job.ReasonMalformed},
			"binary life":     {"c", nats.Header{job.HeaderLife: {"\xff\xfe"}}, job.ReasonMalformed},
			"too much meta":   {"d", nats.Header{job.HeaderMeta + "k": {strings.Repeat("x", 20_000)}}, job.ReasonMalformed},
			"expired":         {"e", nats.Header{job.HeaderExpires: {"1m"}}, job.ReasonExpired},
		}
		lives := make(map[string]string)
		for name, b := range bad {
			if name == "bad id" {
				b.id = "a$c"
			}
			lives[lifeOf(s.publish(b.id, b.header, "payload of "+name))] = name
		}
		ok := s.publish("fine", nats.Header{stream.HeaderStatus: {"100"}, stream.HeaderDescription: {"looks like the broker's"}}, "x")
		late := s.publish("in-time", nats.Header{job.HeaderExpires: {"1h"}}, "x")
		s.sleep(2 * time.Minute)
		st := s.station("n", 4, succeed)
		s.sleep(10 * time.Second)
		if got := len(st.runs()); got != 2 {
			t.Errorf("ran %d jobs, want 2", got)
		}
		all := []string{lifeOf(ok), lifeOf(late)}
		for life, name := range lives {
			all = append(all, life)
			events := s.events()[life]
			if len(events) != 1 || events[0].Kind != job.EventDead || events[0].Reason != bad[name].reason || events[0].Error == "" {
				t.Errorf("%s: %+v", name, events)
			}
			if m := s.records()[life]; len(m) != 1 || string(m[0].Data) != "payload of "+name {
				t.Errorf("%s: %d dead records", name, len(m))
			}
		}
		s.checkEnded(all...)
	})
}

// Where one line is no header, the client library hands out none of them: such a job must not
// run as if it had asked for nothing.
func TestHeadersThatNobodyCanReadEndDead(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		broken := map[string]string{
			"after":  job.HeaderMaxAttempts + ": 1\r\nno header\r\n",
			"before": "no header\r\n" + job.HeaderTimeout + ": 1s\r\n",
		}
		for id, headers := range broken {
			s.rawPublish(id, headers, "payload of "+id)
		}
		s.rawPublish("none", "", "x")
		st := s.station("n", 4, succeed)
		s.sleep(10 * time.Second)
		if runs := st.runs(); len(runs) != 1 {
			t.Errorf("ran %d jobs, want the one without headers", len(runs))
		}
		dead := 0
		for _, events := range s.events() {
			for _, e := range events {
				if e.Kind == job.EventDead && e.Reason == job.ReasonMalformed && strings.Contains(e.Error, "no header") {
					dead++
				}
			}
		}
		if dead != len(broken) {
			t.Errorf("%d jobs ended dead as malformed, want %d", dead, len(broken))
		}
	})
}

// A drain ends what was asked for: what still comes goes back, with nothing counted.
func TestDrainHandsBackWhatStillComes(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("n", 2, succeed)
		s.sleep(100 * time.Millisecond) // its request stands
		st.slots.Close()
		r := s.enqueue("a")
		began := time.Now()
		<-st.slots.Idle()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the drain took %v", took)
		}
		s.sleep(10 * time.Second)
		if got := len(st.runs()); got != 0 {
			t.Errorf("ran %d jobs after the drain began", got)
		}
		m, err := s.store.Find(s.ctx, testPlace("a"))
		if err != nil || m.Attempt != 1 || m.Crashes != 0 {
			t.Fatalf("the job is %+v, %v", m, err)
		}
		next := s.station("next", 1, succeed)
		s.sleep(testWait + 10*time.Second)
		s.checkEnded(r.Life)
		if got := s.kinds(r.Life); got != "succeeded" || len(next.runs()) != 1 {
			t.Errorf("events %s, %d runs", got, len(next.runs()))
		}
	})
}

// A worker that drains while its broker is away does not wait for it.
func TestDrainWithoutABroker(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("n", 2, succeed)
		s.sleep(time.Second)
		s.server.Stop()
		defer s.server.Start(t)
		s.sleep(10 * time.Second)
		st.slots.Close()
		select {
		case <-st.slots.Idle():
		case <-time.After(15 * time.Second):
			t.Error("the drain waits for a broker though nothing is in hand")
		}
	})
}

// Whatever befalls the consumer, the stream or the connection, jobs run again soon after.
func TestPullerHeals(t *testing.T) {
	tests := map[string]func(t *testing.T, s *scene, st *station){
		"broker restarts": func(t *testing.T, s *scene, _ *station) {
			s.server.Stop()
			s.sleep(time.Minute)
			s.server.Start(t)
			s.sleep(time.Second)
		},
		"connection is cut": func(_ *testing.T, _ *scene, st *station) { st.link.Cut() },
		"connection is held": func(_ *testing.T, _ *scene, st *station) {
			st.link.Hold()
			st.sleep(10 * time.Minute)
			st.link.Release()
		},
		"consumer is deleted": func(t *testing.T, s *scene, _ *station) {
			if err := s.store.js.DeleteConsumer(s.ctx, s.store.names.queueStream(queueName()), testType); err != nil {
				t.Fatal(err)
			}
		},
		"queue stream is deleted": func(t *testing.T, s *scene, _ *station) {
			if err := s.store.js.DeleteStream(s.ctx, s.store.names.queueStream(queueName())); err != nil {
				t.Fatal(err)
			}
			s.sleep(time.Minute) // made again
		},
		"all streams are deleted": func(t *testing.T, s *scene, _ *station) {
			for _, name := range []string{s.store.names.queueStream(queueName()), s.store.names.eventStream(), s.store.names.deadStream()} {
				if err := s.store.js.DeleteStream(s.ctx, name); err != nil {
					t.Fatal(err)
				}
			}
			s.sleep(time.Minute)
		},
		"queue is purged": func(t *testing.T, s *scene, _ *station) {
			stream, err := s.store.js.Stream(s.ctx, s.store.names.queueStream(queueName()))
			if err == nil {
				err = stream.Purge(s.ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := s.store.ensure(s.ctx, queueName()); err != nil { // the pin is back
				t.Fatal(err)
			}
		},
		"subscription is deaf": func(_ *testing.T, _ *scene, st *station) {
			// The broker has forgotten the inbox; nothing told the client.
			_ = st.puller.inbox.sub.Unsubscribe()
			st.sleep(time.Minute)
			if got := st.store.Rebuilt(); got != 1 {
				st.t.Errorf("made again %d times, want once", got)
			}
		},
	}
	for name, befall := range tests {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				st := s.station("n", 2, succeed)
				first := s.enqueue("a")
				s.sleep(5 * time.Second)
				if got := len(st.runs()); got != 1 {
					t.Fatalf("%d runs before", got)
				}
				befall(t, s, st)
				second := s.enqueue("b")
				s.sleep(15 * time.Second)
				if got := len(st.runs()); got != 2 {
					t.Errorf("%d runs, want 2", got)
				}
				lives := []string{second.Life}
				if _, kept := s.events()[first.Life]; kept {
					lives = append(lives, first.Life)
				}
				s.checkEnded(lives...)
			})
		})
	}
}

// Requests that the broker answers, in vain although jobs wait, are found out as well; and
// only if some could run.
func TestWatchdogCountsWhatItMakesAnew(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("n", 2, succeed)
		p := st.slots.Limiter(slots.Key{Kind: slots.OfType, Name: testType}, time.Minute)
		s.sleep(time.Minute)
		if got := st.store.Rebuilt(); got != 0 {
			t.Errorf("made again %d times though nothing waits", got)
		}
		p.Allow(0, time.Now().Add(time.Hour))
		s.sleep(5 * time.Second) // until no request of before is left
		taken := s.enqueue("taken")
		other := s.node("other")
		h := other.pull()
		other.renewer.Keep(h)
		s.editConsumer(func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 1 }) // nothing more is handed out
		r := s.enqueue("a")
		s.sleep(time.Minute)
		if got := st.store.Rebuilt(); got != 0 {
			t.Errorf("made again %d times though nothing may run", got)
		}
		p.Allow(1, time.Now().Add(time.Hour))
		s.sleep(10 * time.Second)
		if got := st.store.Rebuilt(); got < 2 || got > 4 {
			t.Errorf("made again %d times in 10 s, want once in 3 s", got)
		}
		s.editConsumer(func(c *jetstream.ConsumerConfig) { c.MaxAckPending = -1 })
		if err := other.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Fatal(err)
		}
		s.sleep(5 * time.Second)
		s.checkEnded(taken.Life, r.Life)
	})
}

// A stream that is lost with jobs in hand: what is held is all there is, and it is put back.
func TestJobInHandOutlivesItsStream(t *testing.T) {
	for name, o := range map[string]Outcome{
		"retry": {Kind: job.EventRetrying, Error: "boom"}, "drain": {Kind: job.EventHandedBack}, "unstarted": {}, "done": {Kind: job.EventSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				n := s.node("n")
				// An earlier life has ended: its event is not this one's.
				old := s.enqueue("a")
				if err := n.settle(n.pull(), Outcome{Kind: job.EventSucceeded}); err != nil {
					t.Fatal(err)
				}
				s.sleep(time.Millisecond)
				r := s.enqueue("a")
				h := n.pull()
				if err := s.store.js.DeleteStream(s.ctx, s.store.names.queueStream(queueName())); err != nil {
					t.Fatal(err)
				}
				if err := n.settle(h, o); err != nil {
					t.Fatal(err)
				}
				if err := s.store.ensure(s.ctx, queueName()); err != nil {
					t.Fatal(err)
				}
				if err := s.store.CheckLease(s.ctx, testQueue, testType); err != nil {
					t.Fatal(err)
				}
				n.finishAll(Outcome{Kind: job.EventSucceeded})
				s.checkEnded(old.Life, r.Life)
			})
		})
	}
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
