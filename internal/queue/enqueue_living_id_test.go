package queue

import (
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// Two jobs with one id, by a publisher who does not ask whether it is alive: the older one
// gives way as soon as it would have to go back into the queue, and both end.
func TestTwoLivingJobsOfOneID(t *testing.T) {
	tests := map[string]struct {
		first, second Outcome // how they end; the first settles first
		older, newer  string  // what happens to them
	}{
		"both succeed":         {Outcome{Kind: job.EventSucceeded}, Outcome{Kind: job.EventSucceeded}, "succeeded", "succeeded"},
		"the older one fails":  {Outcome{Kind: job.EventRetrying}, Outcome{Kind: job.EventSucceeded}, "retrying cancelled", "succeeded"},
		"the older one drains": {Outcome{}, Outcome{Kind: job.EventSucceeded}, "cancelled", "succeeded"},
		"the newer one fails":  {Outcome{Kind: job.EventSucceeded}, Outcome{Kind: job.EventRetrying}, "succeeded", "retrying succeeded"},
		"both fail":            {Outcome{Kind: job.EventRetrying}, Outcome{Kind: job.EventRetrying}, "retrying cancelled", "retrying succeeded"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				older, newer := lifeOf(s.publish("a", nil, "1")), lifeOf(s.publish("a", nil, "2"))
				n := s.node("n")
				first, second := n.pull(), n.pull()
				if err := n.settle(first, tt.first); err != nil {
					t.Fatal(err)
				}
				if err := n.settle(second, tt.second); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
				n.finishAll(Outcome{Kind: job.EventSucceeded})
				s.checkEnded(older, newer)
				if got := s.kinds(older); got != tt.older {
					t.Errorf("the older one: %s, want %s", got, tt.older)
				}
				if got := s.kinds(newer); got != tt.newer {
					t.Errorf("the newer one: %s, want %s", got, tt.newer)
				}
			})
		})
	}
}

// The newer of two settles first: the older one says its end behind it, and is not run again
// for that.
func TestOlderOfTwoSettlesLast(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		older, newer := lifeOf(s.publish("a", nil, "1")), lifeOf(s.publish("a", nil, "2"))
		n := s.node("n")
		first, second := n.pull(), n.pull()
		if err := n.settle(second, Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Fatal(err)
		}
		if err := n.settle(first, Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Errorf("the older one could not say its end: %v", err)
		}
		if ran := n.finishAll(Outcome{Kind: job.EventSucceeded}); len(ran) > 0 {
			t.Errorf("ran %d times more", len(ran))
		}
		s.checkEnded(older, newer)
		if e := s.events()[older][0]; e.Kind != job.EventSucceeded || !e.Overtaken {
			t.Errorf("the older one's end: %+v", e)
		}
	})
}

// The newest of three has ended, the oldest says behind it that it is superseded, and the
// one between them must not take that for the last word.
func TestMiddleOfThreeEndsOnce(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		var lives []string
		for range 3 {
			lives = append(lives, lifeOf(s.publish("a", nil, "x")))
		}
		n, gone := s.node("n"), s.node("gone")
		oldest, middle, newest := n.pull(), n.pull(), gone.pull()
		gone.crashAt(2, natstest.CutBefore) // its ack
		_ = gone.settle(newest, Outcome{Kind: job.EventSucceeded})
		time.Sleep(time.Second)
		gone.crash()
		if err := n.settle(oldest, Outcome{}); err != nil {
			t.Fatal(err)
		}
		if err := n.settle(middle, Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Errorf("the middle one could not say its end: %v", err)
		}
		if ran := n.finishAll(Outcome{Kind: job.EventSucceeded}); len(ran) > 0 {
			t.Errorf("ran %d times more", len(ran))
		}
		s.checkEnded(lives...)
	})
}

// It has ended, and its worker died before the ack; another job of its id came and went
// meanwhile. What is delivered again is not run again.
func TestEndIsKnownBehindAnotherLife(t *testing.T) {
	for name, end := range map[string]Outcome{
		"succeeded": {Kind: job.EventSucceeded},
		"dead":      {Kind: job.EventDead, Reason: job.ReasonPermanent, Error: "no"},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				older := lifeOf(s.publish("a", nil, "1"))
				gone := s.node("gone")
				h := gone.pull()
				acks := 0
				gone.link.Watch(func(subject string) natstest.Fate {
					if subject != h.reply {
						return natstest.Pass
					}
					acks++
					gone.link.Down()
					return natstest.CutBefore
				})
				_ = gone.settle(h, end)
				time.Sleep(time.Second)
				gone.crash()
				if acks != 1 {
					t.Fatalf("%d acks", acks)
				}
				newer := lifeOf(s.publish("a", nil, "2"))
				n := s.node("n")
				if err := n.settle(n.pull(), end); err != nil {
					t.Fatal(err)
				}
				ran := n.finishAll(Outcome{Kind: job.EventSucceeded})
				if len(ran) != 0 {
					t.Errorf("ran %d more times", len(ran))
				}
				s.checkEnded(older, newer)
			})
		})
	}
}

// A worker that comes back after its lease does not keep the job from healing: it renews
// nothing that it has lost, though the broker would confirm it.
func TestZombieRenewsNothing(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		zombie, other := s.node("zombie"), s.node("other")
		h := zombie.pull()
		zombie.renewer.Keep(h)
		time.Sleep(time.Second)
		zombie.link.Hold()
		for taken := false; !taken; {
			taken = other.tryPull(9*time.Second, testWait) != nil
		}
		other.crash() // the new holder dies at once
		zombie.link.Release()
		time.Sleep(time.Second) // what was held is through
		began := time.Now()
		zombie.link.Watch(func(subject string) natstest.Fate {
			if subject == h.reply {
				t.Errorf("renewed or settled what it had lost, %v after it woke", time.Since(began))
			}
			return natstest.Pass
		})
		s.node("third").finishAll(Outcome{Kind: job.EventSucceeded})
		if took := time.Since(began); took > 2*testWait+10*time.Second {
			t.Errorf("healed after %v", took)
		}
		zombie.link.Watch(nil)
		s.checkEnded(r.Life)
	})
}

// What could not be sent while the connection was down is not sent when it is up again and
// the lease is over.
func TestNothingIsBufferedForLater(t *testing.T) {
	for _, tt := range rows {
		inScene(t, func(t *testing.T, s *scene) {
			r := s.enqueue("a")
			n := s.node("n")
			h := n.pull()
			n.link.Crash()
			settled := make(chan error, 1)
			go func() { settled <- n.settle(h, tt.outcome) }()
			time.Sleep(testWait)
			if err := <-settled; err == nil {
				t.Errorf("%s: settled without a connection", tt.name)
			}
			n.link.Watch(func(subject string) natstest.Fate {
				if isWrite(subject) {
					t.Errorf("%s: wrote to %s after the lease", tt.name, subject)
				}
				return natstest.Pass
			})
			n.link.Up()
			time.Sleep(5 * time.Second)
			n.link.Watch(nil)
			ran := s.node("other").finishAll(Outcome{Kind: job.EventSucceeded})
			if len(ran) != 1 || ran[0].Attempt != 1 {
				t.Errorf("%s: ran %d times", tt.name, len(ran))
			}
			s.checkEnded(r.Life)
		})
	}
}
