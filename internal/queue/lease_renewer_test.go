package queue

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// A job that outlives AckWait ten times over stays with its holder, and runs once.
func TestLongJobRunsOnce(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		n, other := s.node("n"), s.node("other")
		h := n.pull()
		n.renewer.Keep(h)
		for began := time.Now(); time.Since(began) < 10*testWait; {
			if g := other.tryPull(9*time.Second, testWait); g != nil {
				t.Fatalf("another got it after %v, delivery %d", time.Since(began), g.Delivered)
			}
			if err := h.Alive(); err != nil {
				t.Fatalf("lease lost after %v", time.Since(began))
			}
			if left := time.Until(h.LeaseUntil()); left < testWait/2 || left > testWait {
				t.Fatalf("lease ends in %v", left)
			}
		}
		if err := n.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Fatal(err)
		}
		s.sleep(time.Millisecond)
		s.checkEnded(r.Life)
	})
}

// The broker stores when a message was published where it should store when it was handed
// out: a job that had waited for long would be handed out again as soon as the broker
// restarts. The first renewal, at once, mends that.
func TestBrokerRestartTakesNoJobAway(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		s.enqueue("a")
		s.sleep(10 * time.Minute)
		n := s.node("n")
		h := n.pull()
		n.renewer.Keep(h)
		s.sleep(1500 * time.Millisecond)
		s.server.Stop()
		s.sleep(time.Second)
		s.server.Start(t)
		s.sleep(200 * time.Millisecond)
		other := s.node("other")
		for range 10 {
			if g := other.tryPull(9*time.Second, testWait); g != nil {
				t.Fatalf("another got it, delivery %d, while the lease of its holder had %v to go", g.Delivered, time.Until(h.LeaseUntil()))
			}
		}
		if err := h.Alive(); err != nil {
			t.Errorf("holder: %v", err)
		}
	})
}

// Whoever is cut off for longer than the lease is told so, in time: before the broker gives
// the job away.
func TestLostLeaseIsTold(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		s.enqueue("a")
		n, other := s.node("n"), s.node("other")
		h := n.pull()
		lost := make(chan time.Time, 1)
		h.OnLost(func(error) { lost <- time.Now() })
		n.renewer.Keep(h)
		s.sleep(testWait)
		n.link.Hold()
		var taken time.Time
		for taken.IsZero() {
			if g := other.tryPull(testWait/3, testWait); g != nil {
				taken = time.Now()
			}
		}
		select {
		case at := <-lost:
			if early := taken.Sub(at); early < 0 {
				t.Errorf("told %v after another had the job", -early)
			}
		default:
			t.Error("not told that another has the job")
		}
		// The connection is back and the broker confirms what it is sent: too late.
		n.link.Release()
		s.sleep(testWait)
		if err := h.Alive(); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("Alive = %v after the lease was lost", err)
		}
		if got := n.renewer.InHand(); got != 0 {
			t.Errorf("the renewer still renews %d leases", got)
		}
	})
}

// An outage that is shorter than the lease costs nothing.
func TestLeaseOutlivesAShortOutage(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		n := s.node("n")
		h := n.pull()
		n.renewer.Keep(h)
		for range 5 {
			s.sleep(testWait)
			s.server.Stop()
			s.sleep(testWait / 2)
			s.server.Start(t)
		}
		if err := n.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Fatal(err)
		}
		s.sleep(testWait) // all connections are back
		s.checkEnded(r.Life)
		if got := s.kinds(r.Life); got != "succeeded" {
			t.Errorf("events %s", got)
		}
	})
}

// All that a big worker holds is renewed, whatever comes back at once.
func TestRenewerOfThousands(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const jobs = 1500 // more answers at once than the renewer buffers
		for i := range jobs {
			s.publish(fmt.Sprintf("j%d", i), nil, "")
		}
		n := s.node("n")
		held := make([]*Delivery, jobs)
		for i := range held {
			held[i] = n.pull()
			n.renewer.Keep(held[i])
		}
		s.sleep(4 * testWait)
		lost := 0
		for _, h := range held {
			if h.Alive() != nil {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("%d of %d leases were lost", lost, jobs)
		}
	})
}
