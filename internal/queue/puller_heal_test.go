package queue

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
)

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
