package registry

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/supervisor"
)

// A node that lost its connection hears of a limit within a second of its return, though the
// broker leaves a request to set up the watch unanswered: one that has just started may lose
// the first answers of an account.
func TestLostAnswerDoesNotHideALimit(t *testing.T) {
	for _, lost := range []string{"$JS.API.STREAM.INFO", "$JS.API.DIRECT.GET", "$JS.API.CONSUMER.CREATE"} {
		t.Run(lost, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.limit(imports, 8, 0)
				n := s.node("a", nodeConfig{concurrency: 8, types: []string{imports.Name}, jobs: 50 * time.Millisecond})
				isLost := n.loseOnce(lost)
				n.link.Cut()
				time.Sleep(500 * time.Millisecond)
				s.limit(imports, 2, 0)
				time.Sleep(2 * seenWithin) // the observer counts what starts
				s.limit(imports, 6, 0)
				time.Sleep(time.Second)
				s.checkUsed(imports, 6, time.Second)
				if !isLost() {
					s.t.Error("no request was lost")
				}
			})
		})
	}
}

// The same of a watch that crashed and was started again.
func TestLostAnswerDoesNotHideALimitFromARestartedWatch(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 8, 0)
		fail := make(chan struct{})
		n := s.node("a", nodeConfig{
			concurrency: 8, types: []string{imports.Name}, jobs: 50 * time.Millisecond,
			instrument: func(c supervisor.Child) supervisor.Child {
				if c.Name != "watch" {
					return c
				}
				return failing(c, fail)
			},
		})
		lost := n.loseOnce("$JS.API.STREAM.INFO")
		fail <- struct{}{}
		time.Sleep(500 * time.Millisecond)
		s.limit(imports, 2, 0)
		time.Sleep(2 * seenWithin) // the observer counts what starts
		if !lost() {
			s.t.Error("no request was lost")
		}
	})
}

// loseOnce has the next message of the node to such a subject be lost, and tells whether it was.
func (n *node) loseOnce(prefix string) (isLost func() bool) {
	var lost atomic.Bool
	n.link.Watch(func(subject string) natstest.Fate {
		if strings.HasPrefix(subject, prefix) && lost.CompareAndSwap(false, true) {
			return natstest.Lost
		}
		return n.count(subject)
	})
	return lost.Load
}

// What failed before the limit came does not put off the look at who has what: others may have
// more than was known.
func TestLimitIsActedOnAfterAnError(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 8, 0)
		v := &fixedLimiter{used: 4, want: 4}
		h := s.holder("x", s.store, v, Limit{Jobs: 8})
		if err := h.refresh(s.ctx); err != nil || v.permits != 4 {
			s.t.Fatalf("%v, %d permits, want 4", err, v.permits)
		}
		for range 5 {
			h.answered(nats.ErrConnectionReconnecting)
		}
		y := s.holder("y", s.store, &fixedLimiter{used: 4, want: 4}, Limit{Jobs: 8})
		if err := y.refresh(s.ctx); err != nil {
			s.t.Fatal(err)
		}
		s.limit(imports, 4, 0)
		h.changeLimit(time.Now(), knownLimit{Limit: Limit{Jobs: 4}, rev: h.limit.rev + 1})
		if err := h.act(s.ctx, time.Now()); err != nil || v.permits != 0 {
			s.t.Errorf("%v, %d permits may be used while 8 jobs run, limit 4", err, v.permits)
		}
	})
}
