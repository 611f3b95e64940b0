package queue

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/modeltest"
	"github.com/millhand/millhand/internal/natstest"
)

// befall has a fate befall the nth event that leaves from now on, or end of a batch.
func (w *swarm) befall(nth int, fate natstest.Fate) {
	n := 0
	w.link.Watch(func(subject string) natstest.Fate {
		if short(subject) != "event" {
			return natstest.Pass
		}
		if n++; n != nth {
			return natstest.Pass
		}
		return fate
	})
}

// recovers fails the test unless all jobs end, and others after them.
func (w *swarm) recovers() {
	w.t.Helper()
	w.settled()
	time.Sleep(batchesResume)
	w.scene.node("b").finishAll(Outcome{Kind: job.EventSucceeded}) // those whose ack was lost
	w.burst(40)
	w.allEnded()
}

// Whatever is lost on the way, each job ends with one event.
func TestBatchOverABrokenLink(t *testing.T) {
	fates := map[string]natstest.Fate{"cut before": natstest.CutBefore, "cut after": natstest.CutAfter, "lost": natstest.Lost}
	for name, fate := range fates {
		for _, at := range []int{1, 2, 20, 32, 33, 41} { // the last is the end of the batch
			t.Run(fmt.Sprintf("%s %d", name, at), func(t *testing.T) {
				inScene(t, func(_ *testing.T, s *scene) {
					w := s.swarm("n")
					held := w.pullAll(40)
					w.befall(at, fate)
					w.succeed(held)
					w.recovers()
				})
			})
		}
	}
}

// A crash anywhere leaves jobs that run again or are over, and none without its event.
func TestCrashWithABatchOpen(t *testing.T) {
	for _, fate := range []natstest.Fate{natstest.CutBefore, natstest.CutAfter} {
		for write := 1; write <= 81; write += 8 {
			t.Run(fmt.Sprintf("%d/%d", write, fate), func(t *testing.T) {
				inScene(t, func(t *testing.T, s *scene) {
					w := s.swarm("n")
					held := w.pullAll(40)
					w.crashAt(write, fate)
					w.succeed(held)
					time.Sleep(time.Second)
					w.crash()
					ran := s.node("b").finishAll(Outcome{Kind: job.EventSucceeded})
					t.Logf("ran %d again", len(ran))
					s.allEnded()
				})
			})
		}
	}
}

// The broker restarts while events are on their way.
func TestBrokerRestartsWithABatchOpen(t *testing.T) {
	for _, slow := range []time.Duration{0, 2 * time.Millisecond, 20 * time.Millisecond} {
		t.Run(slow.String(), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				w := s.swarm("n")
				held := w.pullAll(60)
				w.link.Slow(slow)
				w.succeed(held[:40])
				s.server.Stop()
				w.succeed(held[40:50])
				time.Sleep(500 * time.Millisecond)
				w.succeed(held[50:])
				w.link.Slow(0) // a connection is made with locks held
				s.server.Start(t)
				w.recovers()
			})
		})
	}
}

// A storm is a swarm that keeps its leases while things befall its link and the broker.
type storm struct {
	*swarm
	hands *node    // pulls, over a link that nothing befalls
	older []string // lives that ended before others of their id
}

// burst settles some jobs at once. One of them may have had an older life.
func (w *storm) burst(t *rapid.T) {
	var held, fresh []*Delivery
	for range rapid.IntRange(1, 15).Draw(t, "jobs") {
		r := w.enqueue(fmt.Sprint("a", w.lives))
		h := w.hands.pull()
		for ; h.Delivered > 1; h = w.hands.pull() { // its ack was lost
			w.renewer.Keep(h)
			w.settler.Redelivered(h)
		}
		held = append(held, h)
		if h.Life == r.Life { // and not one that the broker had forgotten it had delivered
			fresh = append(fresh, h)
		}
	}
	if len(fresh) > 0 && rapid.IntRange(0, 2).Draw(t, "foreign") == 0 {
		w.older = append(w.older, w.precede(rapid.SampledFrom(fresh).Draw(t, "at")))
	}
	for _, h := range held {
		w.renewer.Keep(h)
	}
	w.succeed(held)
}

func (w *storm) wait(t *rapid.T) {
	time.Sleep(rapid.SampledFrom([]time.Duration{
		time.Microsecond, time.Millisecond, 3 * time.Millisecond, 50 * time.Millisecond, time.Second, 3 * time.Second,
	}).Draw(t, "pause"))
}

func (w *storm) cut(*rapid.T) { w.link.Cut() }

func (w *storm) freeze(t *rapid.T) {
	w.link.Hold()
	w.burst(t)
	w.wait(t)
	w.link.Release()
}

func (w *storm) lose(t *rapid.T) {
	w.befall(rapid.IntRange(1, 40).Draw(t, "nth"), rapid.SampledFrom([]natstest.Fate{
		natstest.Lost, natstest.Lost, natstest.CutBefore, natstest.CutAfter,
	}).Draw(t, "fate"))
}

func (w *storm) restartBroker(t *rapid.T) {
	w.server.Stop()
	w.wait(t)
	w.server.Start(t)
	for !w.scene.store.nc.IsConnected() || !w.hands.store.nc.IsConnected() {
		time.Sleep(time.Millisecond)
	}
}

// Whatever befalls a worker that keeps its leases, each of its jobs ends with one event.
func TestBatchesInAStorm(t *testing.T) {
	natstest.Check(t, func(t *rapid.T, server *natstest.Server) {
		s := newScene(t, server)
		w := &storm{swarm: s.swarm("n"), hands: s.node("hands")}
		steps := make(modeltest.Steps)
		steps.Add("burst", 3, w.burst)
		steps.Add("wait", 2, w.wait)
		steps.Add("cut", 1, w.cut)
		steps.Add("freeze", 1, w.freeze)
		steps.Add("lose", 1, w.lose)
		steps.Add("restart the broker", 1, w.restartBroker)
		t.Repeat(steps)
		w.link.Watch(nil)
		w.settled()
		s.node("b").finishAll(Outcome{Kind: job.EventSucceeded}) // those whose ack was lost
		s.allEnded(w.older...)
	})
}
