package queue

import (
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// A job with the id of a dead one, or one that keeps it, is in the way.
func TestRequeueBesideAnother(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		d := n.die("a", Outcome{Reason: job.ReasonPermanent})
		other := s.enqueue("a")
		refused := func(until time.Time) {
			t.Helper()
			_, err := s.store.Requeue(s.ctx, testPlace("a"), d.Life, d.Seq, Revival{})
			duplicate, ok := errors.AsType[*DuplicateError](err)
			if !ok || duplicate.Life != other.Life || !duplicate.Until.Equal(until) {
				t.Errorf("requeued beside another: %v", err)
			}
		}
		refused(time.Time{})
		n.finishAll(Outcome{Kind: job.EventSucceeded})
		until := time.Now().Add(time.Hour).UTC()
		if _, err := s.store.client.Publish(s.ctx, s.store.holdMsg(testPlace("a"), other.Life, until)); err != nil {
			t.Fatal(err)
		}
		refused(until)
		if got := s.deadIDs(DeadFilter{}); len(got) != 1 {
			t.Errorf("dead: %q", got)
		}
		time.Sleep(time.Hour + time.Second)
		s.requeue(d, Revival{})
	})
}

// A job that keeps its id for a while may be requeued meanwhile: it is the job that keeps it.
func TestRequeueOfAHeldID(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		r := s.record("a")
		r.UniqueUntil = time.Now().Add(time.Hour).UTC()
		if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
			t.Fatal(err)
		}
		if err := n.settle(n.pullStarted(), Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		if _, hold, err := s.store.findOrHold(s.ctx, testPlace("a")); err != nil || hold == nil || hold.Life != r.Life {
			t.Fatalf("hold %+v, %v", hold, err)
		}
		d := s.deadOf(r.Life)
		life := s.requeue(d, Revival{})
		err := s.store.Enqueue(s.ctx, enqueueOf(s.record("a"), true, 0))
		if duplicate, ok := errors.AsType[*DuplicateError](err); !ok || duplicate.Life != life {
			t.Errorf("its id was given away: %v", err)
		}
		if err := n.settle(n.pullStarted(), Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		if _, hold, err := s.store.findOrHold(s.ctx, testPlace("a")); err != nil || hold == nil || hold.Life != life {
			t.Errorf("hold %+v, %v", hold, err)
		}
		if again := s.requeue(d, Revival{}); again != life {
			t.Errorf("requeued as %s", again)
		}
	})
}

// The message of the dead life is not acknowledged yet: whoever is handed it next may bury it again.
func TestRequeueBeforeTheAck(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		r := s.enqueue("a")
		h := n.pull()
		n.link.Watch(func(subject string) natstest.Fate {
			if subject == h.reply {
				return natstest.Lost
			}
			return natstest.Pass
		})
		if err := n.settle(h, Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent}); err != nil {
			t.Fatal(err)
		}
		d := s.deadOf(r.Life)
		_, err := s.store.Requeue(s.ctx, testPlace("a"), d.Life, d.Seq, Revival{})
		if duplicate, ok := errors.AsType[*DuplicateError](err); !ok || duplicate.Life != r.Life {
			t.Errorf("requeued before its end was complete: %v", err)
		}
		s.node("next").finishAll(Outcome{Kind: job.EventSucceeded})
		s.requeue(d, Revival{})
	})
}
