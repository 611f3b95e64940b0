package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/stream"
)

func TestEnqueueStoresThePayloadAsItIs(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.record("a")
		r.Payload = []byte("\x00 not JSON \xff")
		r.Meta = map[string]string{"k": "v"}
		if err := s.store.Enqueue(s.ctx, enqueueOf(r, false, 0)); err != nil {
			t.Fatal(err)
		}
		msgs := s.waiting()
		if len(msgs) != 1 || string(msgs[0].Data) != string(r.Payload) || msgs[0].Subject != "millhand.q.ready.t.a" {
			t.Fatalf("the queue holds %v", msgs)
		}
		h := s.node("n").pull()
		if h.Life != r.Life || h.Meta["k"] != "v" || h.Attempt != 1 || h.EnqueuedAt.IsZero() || h.Malformed != nil {
			t.Errorf("pulled %+v", h.Record)
		}
	})
}

// A chosen id is refused while its job is scheduled, ready, retrying or running, and free
// once it has ended.
func TestChosenIDIsAliveOnce(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		first := s.enqueue("a")
		refused := func(when string) {
			t.Helper()
			err := s.store.Enqueue(s.ctx, enqueueOf(s.record("a"), true, 0))
			if e, ok := errors.AsType[*DuplicateError](err); !ok || e.Life != first.Life || e.ID != "a" {
				t.Errorf("%s: enqueue = %v, want a *DuplicateError that names %s", when, err, first.Life)
			}
		}
		refused("ready")
		h := n.pull()
		refused("running")
		if err := n.settle(h, Outcome{Kind: job.EventRetrying, Delay: time.Minute}); err != nil {
			t.Fatal(err)
		}
		refused("retrying")
		time.Sleep(time.Minute + time.Second)
		refused("ready again")
		if err := n.settle(n.pull(), Outcome{Kind: job.EventSnoozed, Delay: time.Minute}); err != nil {
			t.Fatal(err)
		}
		refused("snoozed")
		time.Sleep(time.Minute)
		if err := n.settle(n.pull(), Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		second := s.enqueue("a")
		n.finishAll(Outcome{Kind: job.EventSucceeded})
		s.checkEnded(first.Life, second.Life)
	})
}

// Of many who race for one id, one wins and the others are told who.
func TestRaceForAnID(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const racers = 30
		results := make(chan error, racers)
		for range racers {
			r := s.record("a")
			store := s.open(s.server.Link().Connect(t), Config{})
			go func() { results <- store.Enqueue(s.ctx, enqueueOf(r, true, 0)) }()
		}
		won := 0
		for range racers {
			err := <-results
			if err == nil {
				won++
			} else if _, ok := errors.AsType[*DuplicateError](err); !ok {
				t.Errorf("enqueue: %v", err)
			}
		}
		if won != 1 || len(s.waiting()) != 1 {
			t.Errorf("%d enqueues of one id accepted, %d messages", won, len(s.waiting()))
		}
	})
}

// The confirmation is lost: the enqueue asks again and finds the job stored, once, even if
// it has been run to its end meanwhile.
func TestEnqueueWhoseConfirmationIsLost(t *testing.T) {
	for _, tt := range []struct{ once, gone, long bool }{
		{true, true, false},
		{true, false, false},
		{false, true, false},
		{false, false, false},
		{true, true, true},
		{true, false, true},
		{false, true, true},
		{false, false, true},
	} {
		t.Run(fmt.Sprintf("%+v", tt), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				l := s.server.Link()
				store := s.open(l.Connect(t), Config{Patience: -1})
				r := s.record("a")
				cut := false
				l.Watch(func(subject string) natstest.Fate {
					if isWrite(subject) && !cut {
						cut = true
						l.Down()
						return natstest.CutAfter
					}
					return natstest.Pass
				})
				n := s.node("n")
				result := make(chan error, 1)
				go func() { result <- store.Enqueue(s.ctx, enqueueOf(r, tt.once, 0)) }()
				time.Sleep(time.Second)
				if got := len(s.waiting()); got != 1 {
					t.Fatalf("%d jobs stored", got)
				}
				if tt.gone {
					n.finishAll(Outcome{Kind: job.EventSucceeded})
				}
				if tt.long { // until the broker has forgotten the message's id
					time.Sleep(10 * time.Minute)
				}
				l.Up()
				if err := <-result; err != nil {
					t.Errorf("Enqueue = %v", err)
				}
				if ran := n.finishAll(Outcome{Kind: job.EventSucceeded}); tt.gone && len(ran) > 0 {
					t.Error("it is stored once more after its end")
				}
				s.checkEnded(r.Life)
				if got := s.kinds(r.Life); got != "succeeded" {
					t.Errorf("events %s: it ran more than once", got)
				}
			})
		})
	}
}

// A batch of which some are refused, some too large and one connection is cut.
func TestEnqueueMany(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		l := s.server.Link()
		store := s.open(l.Connect(t), Config{})
		taken := s.enqueue("taken")
		batch := make([]Enqueue, 0, 300)
		lives := []string{taken.Life}
		for i := range 300 {
			id := fmt.Sprintf("j%d", i)
			switch i {
			case 7:
				id = "taken"
			case 9:
				id = "j8" // twice in one batch
			}
			batch = append(batch, enqueueOf(s.record(id), i%2 == 0 || id != fmt.Sprintf("j%d", i), 0))
		}
		batch[11].Record.Payload = make([]byte, 2<<20)
		writes := 0
		l.Watch(func(subject string) natstest.Fate {
			if isWrite(subject) {
				if writes++; writes == 100 {
					return natstest.CutAfter
				}
			}
			return natstest.Pass
		})
		errs := store.EnqueueMany(s.ctx, batch)
		for i, err := range errs {
			_, duplicate := errors.AsType[*DuplicateError](err)
			_, large := errors.AsType[*TooLargeError](err)
			switch {
			case i == 7 || i == 9:
				if !duplicate {
					t.Errorf("batch[%d]: %v, want a *DuplicateError", i, err)
				}
			case i == 11:
				if !large {
					t.Errorf("batch[%d]: %v, want a *TooLargeError", i, err)
				}
			case err != nil:
				t.Errorf("batch[%d]: %v", i, err)
			default:
				lives = append(lives, batch[i].Record.Life)
			}
		}
		stored := make(map[string]int)
		for _, m := range s.waiting() {
			stored[m.Header.Get(job.HeaderLife)]++
		}
		for _, life := range lives {
			if stored[life] != 1 {
				t.Errorf("%s is stored %d times", life, stored[life])
			}
		}
		if len(stored) != len(lives) {
			t.Errorf("%d jobs stored, want %d", len(stored), len(lives))
		}
	})
}

// A broker that dies, or freezes, in the middle of a batch: who enqueues learns of it soon.
func TestEnqueueManyAgainstABrokerThatDies(t *testing.T) {
	for name, fail := range map[string]func(*natstest.Link){
		"gone": func(l *natstest.Link) { l.Down(); l.Cut() },
		"held": (*natstest.Link).Hold,
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				l := s.server.Link()
				store := s.open(l.Connect(t), Config{})
				batch := make([]Enqueue, 100)
				for i := range batch {
					batch[i] = enqueueOf(s.record(fmt.Sprintf("j%d", i)), false, 0)
				}
				l.Hold()
				began := time.Now()
				result := make(chan []error, 1)
				go func() { result <- store.EnqueueMany(s.ctx, batch) }()
				time.Sleep(10 * time.Millisecond)
				fail(l)
				select {
				case errs := <-result:
					for i, err := range errs {
						if err == nil {
							t.Errorf("batch[%d] is said to be stored", i)
						}
					}
					if took := time.Since(began); took > 10*time.Second {
						t.Errorf("took %v", took)
					}
				case <-time.After(10 * time.Minute):
					t.Error("still waiting after 10 minutes")
				}
				l.Release()
				l.Up()
			})
		})
	}
}

// A batch of which every job needs a second look, over a slow line: patience is for silence,
// not for the sum of all answers.
func TestEnqueueManyDuplicatesOverASlowLine(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		batch := make([]Enqueue, 100)
		for i := range batch {
			id := fmt.Sprintf("j%d", i)
			s.enqueue(id)
			batch[i] = enqueueOf(s.record(id), true, 0)
		}
		l := s.server.Link()
		store := s.open(l.Connect(t), Config{})
		l.Slow(50 * time.Millisecond)
		for i, err := range store.EnqueueMany(s.ctx, batch) {
			if _, ok := errors.AsType[*DuplicateError](err); !ok {
				t.Errorf("batch[%d]: %v, want a *DuplicateError", i, err)
			}
		}
	})
}

// Against a dead broker an enqueue ends within 5 s, with one clear line.
func TestEnqueueAgainstADeadBroker(t *testing.T) {
	for name, fail := range map[string]func(*natstest.Link){
		"gone": func(l *natstest.Link) { l.Down(); l.Cut() },
		"held": (*natstest.Link).Hold,
	} {
		inScene(t, func(t *testing.T, s *scene) {
			l := s.server.Link()
			store := s.open(l.Connect(t), Config{})
			fail(l)
			began := time.Now()
			err := store.Enqueue(s.ctx, enqueueOf(s.record("a"), true, 0))
			if took := time.Since(began); err == nil || took > 5*time.Second+stream.RequestTimeout {
				t.Errorf("%s: Enqueue = %v after %v", name, err, took)
			}
			if err != nil && (strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "no answer from the broker")) {
				t.Errorf("%s: %v", name, err)
			}
			ctx, cancel := context.WithTimeout(s.ctx, time.Second)
			defer cancel()
			if err := store.Enqueue(ctx, enqueueOf(s.record("b"), false, 0)); err == nil {
				t.Errorf("%s: Enqueue with a context that ended = nil", name)
			}
			l.Release()
		})
	}
}

// A life that ended within the dedup window does not swallow the next one with its id, nor
// that one's retries: no message id is made of a job's id or attempt.
func TestSecondLifeWithinTheDedupWindow(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		began := time.Now()
		var lives []string
		for range 3 {
			lives = append(lives, s.enqueue("a").Life)
			ran := 0
			for i := range 3 {
				h := n.pull()
				ran++
				o := Outcome{Kind: job.EventRetrying, Error: "boom"}
				if i == 2 {
					o = Outcome{Kind: job.EventDead, Reason: job.ReasonExhausted, Error: "boom"}
				}
				if h.Attempt != i+1 {
					t.Errorf("run %d is attempt %d", i+1, h.Attempt)
				}
				if err := n.settle(h, o); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
			}
		}
		if took := time.Since(began); took > DedupWindow {
			t.Fatalf("three lives took %v, longer than the window", took)
		}
		s.checkEnded(lives...)
	})
}

// A subject that no consumer can ever see is refused, not acknowledged.
func TestSubjectsNobodyPullsAreRefused(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		for _, subject := range []string{
			"millhand.q.ready.t.a.b", "millhand.q.ready.t", "millhand.q.ready", "millhand.q", "millhand.q.taken.t.a",
			"millhand.q.pin.x", "millhand.event.q.t", "millhand.dead.q.t.a.b",
		} {
			_, err := s.store.client.Publish(s.ctx, &nats.Msg{Subject: subject})
			if !errors.Is(err, nats.ErrNoResponders) {
				t.Errorf("publish to %s: %v, want no answer from any stream", subject, err)
			}
		}
	})
}

// What the broker would obey and destroy jobs by: per-message TTLs are off, and a rollup of
// one subject reaches that subject only.
func TestTTLOnAJobIsRefused(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		m := &nats.Msg{Subject: "millhand.q.ready.t.a", Header: nats.Header{"Nats-TTL": {"1s"}}}
		if _, err := s.store.client.Publish(s.ctx, m); err == nil {
			t.Error("a job that would vanish by itself was accepted")
		}
	})
}
