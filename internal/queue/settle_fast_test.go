package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// settleFast settles on the fast path and waits until nothing is open, or for so long.
func (n *node) settleFast(h *Delivery, most time.Duration) {
	n.t.Helper()
	n.settler.Settle(h, Outcome{Kind: job.EventSucceeded, Result: []byte(`{"n":1}`)})
	for end := time.Now().Add(most); n.unsettled() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func TestFastPathKeepsTheOrder(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		n := s.node("n")
		h := n.pull()
		var writes []string
		n.link.Watch(func(subject string) natstest.Fate {
			if isWrite(subject) {
				writes = append(writes, short(subject))
			}
			if subject == h.reply && len(s.events()[r.Life]) != 1 {
				t.Error("acknowledged before the event was stored")
			}
			return natstest.Pass
		})
		n.settleFast(h, time.Second)
		time.Sleep(time.Millisecond)
		n.link.Watch(nil)
		if got := strings.Join(writes, " "); got != "event ack" {
			t.Errorf("wrote %s, want event ack", got)
		}
		e := s.events()[r.Life][0]
		if e.Kind != job.EventSucceeded || e.Node != "n" || e.Seq != h.Seq || string(e.Result) != `{"n":1}` {
			t.Errorf("event %+v", e)
		}
		s.checkEnded(r.Life)
	})
}

// Without an event a job ends by its ack, unless there is something to tell: a result, or
// an end that somebody who knows its history waits for.
func TestSilentSuccess(t *testing.T) {
	tests := map[string]struct {
		outcome Outcome
		failed  bool // once, before
		want    string
		awaited bool
	}{
		"nothing to tell": {Outcome{Kind: job.EventSucceeded, Silent: true}, false, "", false},
		"awaited":         {Outcome{Kind: job.EventSucceeded, Silent: true}, false, "succeeded", true},
		"result":          {Outcome{Kind: job.EventSucceeded, Silent: true, Result: []byte(`1`)}, false, "succeeded", false},
		"failed before":   {Outcome{Kind: job.EventSucceeded, Silent: true}, true, "retrying succeeded", false},
		"failure":         {Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent, Silent: true}, false, "dead", false},
		"not asked for":   {Outcome{Kind: job.EventSucceeded}, false, "succeeded", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				r := s.record("a")
				r.Awaited = tt.awaited
				if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
					t.Fatal(err)
				}
				n := s.node("n")
				if tt.failed {
					if err := n.settle(n.pull(), Outcome{Kind: job.EventRetrying, Error: "boom"}); err != nil {
						t.Fatal(err)
					}
				}
				n.settler.Settle(n.pull(), tt.outcome)
				time.Sleep(time.Second)
				if got := s.kinds(r.Life); got != tt.want {
					t.Errorf("events %q, want %q", got, tt.want)
				}
				if left := s.waiting(); len(left) > 0 || n.unsettled() > 0 {
					t.Errorf("left in the queue: %v, unsettled: %d", left, n.unsettled())
				}
			})
		})
	}
}

// A crash before the ack of a silent success makes the job run again.
func TestCrashBeforeASilentSuccess(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		a := s.node("a")
		h := a.pull()
		a.crashAt(1, natstest.CutBefore)
		a.settler.Settle(h, Outcome{Kind: job.EventSucceeded, Silent: true})
		time.Sleep(time.Second)
		a.crash()
		ran := s.node("b").finishAll(Outcome{Kind: job.EventSucceeded})
		s.checkEnded(r.Life)
		if len(ran) != 1 || ran[0].Crashes != 1 {
			t.Errorf("ran %d times after the crash: %+v", len(ran), ran)
		}
	})
}

// Between its two writes, and before the first, a crash leaves a job that runs again or is over.
func TestCrashOnTheFastPath(t *testing.T) {
	success := rows[:1]
	inScenes(t, crashes(success, natstest.CutBefore, natstest.CutAfter), func(t *testing.T, s *scene, c crash) {
		r := s.enqueue("a")
		a := s.node("a")
		h := a.pull()
		a.crashAt(c.write+1, c.fate)
		a.settleFast(h, time.Second)
		a.crash()
		ran := s.node("b").finishAll(Outcome{Kind: job.EventSucceeded})
		s.checkEnded(r.Life)
		c.checkRuns(t, ran)
	})
}

// What the fast path cannot finish is finished step by step by the same worker.
func TestFastPathFallsBack(t *testing.T) {
	tests := map[string]func(s *scene, n *node, h *Delivery){
		"answer lost": func(_ *scene, n *node, _ *Delivery) {
			cut := false
			n.link.Watch(func(subject string) natstest.Fate {
				if short(subject) == "event" && !cut {
					cut = true
					return natstest.CutAfter
				}
				return natstest.Pass
			})
		},
		"event lost": func(_ *scene, n *node, _ *Delivery) {
			cut := false
			n.link.Watch(func(subject string) natstest.Fate {
				if short(subject) == "event" && !cut {
					cut = true
					return natstest.CutBefore
				}
				return natstest.Pass
			})
		},
		"no events stream": func(s *scene, _ *node, _ *Delivery) {
			if err := s.store.js.DeleteStream(s.ctx, s.store.names.eventStream()); err != nil {
				s.t.Fatal(err)
			}
		},
		"an older life's event": func(s *scene, _ *node, h *Delivery) {
			m, err := s.store.eventMsg(h.place, &Event{Kind: job.EventSucceeded, Life: "older", Seq: 1})
			if err != nil {
				s.t.Fatal(err)
			}
			if _, err := s.store.client.Publish(s.ctx, m); err != nil {
				s.t.Fatal(err)
			}
		},
	}
	for name, befalls := range tests {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				r := s.enqueue("a")
				n := s.node("n")
				h := n.pull()
				n.renewer.Keep(h)
				befalls(s, n, h)
				n.settleFast(h, testWait)
				time.Sleep(time.Second)
				if got := s.kinds(r.Life); got != "succeeded" {
					t.Errorf("events %s, want succeeded", got)
				}
				if left := s.waiting(); len(left) > 0 {
					t.Errorf("left in the queue: %v", left)
				}
				if n.renewer.InHand() != 0 {
					t.Error("the renewer still renews the lease")
				}
			})
		})
	}
}

// A worker that wakes between the answer and the ack, its lease lost, sends nothing more.
func TestLeaseLostOnTheFastPath(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		n := s.node("n")
		h := n.tryPull(9*time.Second, time.Second)
		acked := false
		n.link.Watch(func(subject string) natstest.Fate {
			switch {
			case short(subject) == "event":
				n.link.Slow(800 * time.Millisecond) // the answer comes after the lease, and is not overdue
			case subject == h.reply:
				acked = true
			}
			return natstest.Pass
		})
		n.settler.Settle(h, Outcome{Kind: job.EventSucceeded})
		time.Sleep(2 * testWait)
		n.link.Watch(nil)
		n.link.Slow(0)
		if acked {
			t.Error("acknowledged after the lease was lost")
		}
		if ran := s.node("b").finishAll(Outcome{Kind: job.EventSucceeded}); len(ran) != 0 {
			t.Errorf("ran %d times more", len(ran))
		}
		s.checkEnded(r.Life)
	})
}

// What is on the fast path when the settler fails is settled by its next run; what is there
// when it is to end, by this one.
func TestSettlerEndsWithJobsOnTheFastPath(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %t", restarted), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				const jobs = 20
				n := s.node("n")
				settler := NewSettler(n.store, n.renewer)
				var lives []string
				ctx, cancel := context.WithCancel(s.ctx)
				defer cancel()
				ended := make(chan struct{})
				go func() { defer close(ended); _ = settler.Run(ctx) }()
				time.Sleep(time.Millisecond)
				n.link.Slow(10 * time.Millisecond)
				for i := range jobs {
					lives = append(lives, s.enqueue(fmt.Sprint("a", i)).Life)
					settler.Settle(n.pull(), Outcome{Kind: job.EventSucceeded})
				}
				if restarted {
					settler.tracker.restart() // as if Run had ended
				}
				cancel()
				<-ended
				if err := n.nc.FlushWithContext(timeLimit(t, time.Second)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if restarted {
					again, end := context.WithCancel(s.ctx)
					end()
					_ = settler.Run(again)
					time.Sleep(time.Second)
				}
				s.checkEnded(lives...)
			})
		})
	}
}

// Jobs that ended at the same time are written off in the order of their messages.
func TestEndsAreWrittenInOrder(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent %t", silent), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				const jobs = 12 // few, so that each event is a write
				n := s.node("n")
				settler := NewSettler(n.store, n.renewer)
				var lives, events, acks, written []string
				var held []*Delivery
				for i := range jobs {
					r := s.enqueue(fmt.Sprint("a", i))
					h := n.pull()
					lives, held, acks = append(lives, r.Life), append(held, h), append(acks, h.reply)
					events = append(events, n.store.names.event(h.place))
				}
				n.link.Watch(func(subject string) natstest.Fate {
					if short(subject) == "event" || strings.HasPrefix(subject, "$JS.ACK.") {
						written = append(written, subject)
					}
					return natstest.Pass
				})
				for _, h := range slices.Backward(held) {
					settler.Settle(h, Outcome{Kind: job.EventSucceeded, Silent: silent})
				}
				ctx, cancel := context.WithCancel(s.ctx)
				ended := make(chan struct{})
				go func() { defer close(ended); _ = settler.Run(ctx) }()
				time.Sleep(time.Second)
				cancel()
				<-ended
				n.link.Watch(nil)
				want := acks
				if !silent {
					want = append(events, acks...)
				}
				if diff := cmp.Diff(want, written); diff != "" {
					t.Errorf("written (-want +got):\n%s", diff)
				}
				if !silent {
					s.checkEnded(lives...)
				}
			})
		})
	}
}

// A settler that fails between taking jobs and writing them off leaves them to its next run.
func TestSettlerFailsWithJobsTaken(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent %t", silent), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				n := s.node("n")
				settler := NewSettler(n.store, n.renewer)
				s.publish("a", nil, "{}")
				h := n.pull() // of an id that is not looked at
				settler.Settle(h, Outcome{Kind: job.EventSucceeded, Silent: silent})
				if taken, _, _ := settler.tracker.take(); len(taken) != 1 {
					t.Fatalf("%d taken", len(taken))
				}
				ctx, cancel := context.WithCancel(s.ctx)
				cancel()
				if err := settler.Run(ctx); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if left := s.waiting(); len(left) != 0 || n.renewer.InHand() != 0 {
					t.Errorf("left in the queue: %v; %d held", left, n.renewer.InHand())
				}
			})
		})
	}
}

// A Run that was given up goes on with what it has; the next one leaves that alone.
func TestSettlersDoNotOverlap(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		settler := NewSettler(n.store, n.renewer)
		life := s.enqueue("a").Life
		settler.Settle(n.pull(), Outcome{Kind: job.EventSucceeded})
		events := 0
		n.link.Watch(func(subject string) natstest.Fate {
			if short(subject) == "event" {
				events++
			}
			return natstest.Pass
		})
		n.link.Slow(500 * time.Millisecond) // and so the answer is not overdue
		ended := make(chan struct{}, 2)
		for range 2 {
			ctx, giveUp := context.WithCancel(s.ctx)
			go func() { _ = settler.Run(ctx); ended <- struct{}{} }()
			time.Sleep(100 * time.Millisecond)
			giveUp()
		}
		<-ended
		<-ended
		n.link.Slow(0)
		time.Sleep(time.Second)
		n.link.Watch(nil)
		if events != 1 {
			t.Errorf("%d events sent", events)
		}
		s.checkEnded(life)
	})
}

func timeLimit(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
