package queue

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// Two jobs of one id, by a publisher who does not ask: the older one goes back into the queue,
// is refused since the other is the newest, and before it has read who that was, the other has
// ended and left. What it reads then is its own message, and no successor.
func TestRefusedSuccessorFindsItsOwnMessage(t *testing.T) {
	for name, o := range map[string]Outcome{
		"drained": {Kind: job.EventHandedBack}, "unstarted": {},
		"failed": {Kind: job.EventRetrying, Error: "boom"}, "failed, later": {Kind: job.EventRetrying, Error: "boom", Delay: time.Minute},
		"snoozed": {Kind: job.EventSnoozed, Delay: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				older, newer := lifeOf(s.publish("a", nil, "1")), lifeOf(s.publish("a", nil, "2"))
				n, other := s.node("n"), s.node("other")
				first, second := n.pull(), other.pull()
				refused := false
				n.link.Watch(func(subject string) natstest.Fate {
					if short(subject) == "ready" || short(subject) == "later" {
						refused = true
					} else if refused && short(subject) != "event" {
						n.link.Hold() // its look at what is the newest
					}
					return natstest.Pass
				})
				ended := make(chan error, 1)
				go func() { ended <- n.settle(first, o) }()
				time.Sleep(time.Second)
				if err := other.settle(second, Outcome{Kind: job.EventSucceeded}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				n.link.Watch(nil)
				n.link.Release()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Minute)
				s.node("last").finishAll(Outcome{Kind: job.EventSucceeded})
				s.checkEnded(older, newer)
			})
		})
	}
}

// A job whose message says more of the events than there is, since their stream was made again
// or a publisher made the number up, is in the hand of two workers: it ends once.
func TestLastEventAheadOfTheStream(t *testing.T) {
	for name, second := range map[string]Outcome{
		"success": {Kind: job.EventSucceeded}, "dead": {Kind: job.EventDead, Reason: job.ReasonPermanent}, "retry": {Kind: job.EventRetrying, Error: "x"},
	} {
		for _, first := range []Outcome{{Kind: job.EventSucceeded}, {Kind: job.EventRetrying, Error: "y"}} {
			t.Run(name+" after "+string(first.Kind), func(t *testing.T) {
				inScene(t, func(t *testing.T, s *scene) {
					life := lifeOf(s.publish("a", nats.Header{job.HeaderLastEvent: {"1000"}}, "x"))
					a, b := s.node("a"), s.node("b")
					held := a.pull()
					// The broker forgets its delivery.
					if err := s.store.js.DeleteConsumer(s.ctx, s.store.names.queueStream(queueName()), testType); err != nil {
						t.Fatal(err)
					}
					if err := s.store.CheckLease(s.ctx, testQueue, testType); err != nil {
						t.Fatal(err)
					}
					again := b.pull()
					if again.Seq != held.Seq || again.Delivered != 1 {
						t.Fatalf("delivery %d of %d, want a first one of %d", again.Delivered, again.Seq, held.Seq)
					}
					acks := 0
					a.link.Watch(func(subject string) natstest.Fate {
						if subject == held.reply {
							acks++
						}
						return natstest.Pass
					})
					if err := a.settle(held, first); err != nil {
						t.Fatal(err)
					}
					if err := b.settle(again, second); err == nil {
						t.Error("the second holder wrote an end as well")
					}
					time.Sleep(testWait)
					s.node("last").finishAll(Outcome{Kind: job.EventSucceeded})
					s.checkEnded(life)
				})
			})
		}
	}
}

// One id is published again and again while the first job of it still runs: that one ends when
// it does, having run once.
func TestSlowJobAmongFasterOnesOfItsID(t *testing.T) {
	for name, o := range map[string]Outcome{
		"success": {Kind: job.EventSucceeded, Result: []byte("1")}, "dead": {Kind: job.EventDead, Reason: job.ReasonPermanent, Error: "no"},
		"failed": {Kind: job.EventRetrying, Error: "boom"}, "drained": {Kind: job.EventHandedBack},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				slow := lifeOf(s.publish("a", nil, "slow"))
				n := s.node("n")
				first := n.pull()
				lives := []string{slow}
				for i := range 8 {
					lives = append(lives, lifeOf(s.publish("a", nil, strconv.Itoa(i))))
					if err := n.settle(n.pull(), Outcome{Kind: job.EventSucceeded}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Millisecond) // acks are not confirmed: a newer job that is still there ends the slow one
				if err := n.settle(first, o); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
				ran := n.finishAll(Outcome{Kind: job.EventSucceeded})
				if want := map[bool]int{true: 0, false: 1}[o.Kind.Final()]; len(ran) != want {
					t.Errorf("ran %d times more, want %d", len(ran), want)
				}
				s.checkEnded(lives...)
				for _, e := range s.events()[slow] {
					if e.Crashes > 0 || e.Kind == job.EventLost {
						t.Errorf("a crash was counted: %s", s.kinds(slow))
					}
				}
			})
		})
	}
}
