package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

const kept = 10 * time.Minute // for which the ids of these tests are

// enqueueKept is enqueue of a job whose id stays taken.
func (s *scene) enqueueKept(id string) *job.Record {
	s.t.Helper()
	r := s.record(id)
	r.UniqueUntil = time.Now().Add(kept)
	if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
		s.t.Fatalf("enqueue %s: %v", id, err)
	}
	return r
}

// start is what a worker does before it runs a handler.
func (h *Delivery) start() *Delivery {
	h.startedAt = time.Now()
	return h
}

// checkKept fails the test unless the id of r is taken by its hold until its time and no longer.
func (s *scene) checkKept(r *job.Record) {
	s.t.Helper()
	err := s.store.Enqueue(s.ctx, enqueueOf(s.record(r.ID), true, 0))
	d, _ := errors.AsType[*DuplicateError](err)
	if d == nil || d.Life != r.Life || !d.Until.Equal(r.UniqueUntil) {
		s.t.Errorf("enqueue of an id that is kept: %v, %+v; want until %v", err, d, r.UniqueUntil)
		return
	}
	s.sleep(time.Until(r.UniqueUntil) - time.Millisecond)
	if err := s.store.Enqueue(s.ctx, enqueueOf(s.record(r.ID), true, 0)); err == nil {
		s.t.Error("the id was free before its time")
	}
	s.sleep(250 * time.Millisecond)
	s.checkFree(r.ID)
}

func (s *scene) checkFree(id string) {
	s.t.Helper()
	if err := s.store.Enqueue(s.ctx, enqueueOf(s.record(id), true, 0)); err != nil {
		s.t.Errorf("enqueue of an id that is free: %v", err)
	}
}

// keptRows are the ends of a job, started or not, and what is written of it.
var keptRows = []struct {
	name      string
	outcome   Outcome
	unstarted bool
	writes    string
	cut       bool // also with a worker that is cut off between them
}{
	{"success", Outcome{Kind: job.EventSucceeded, Result: []byte(`1`)}, false, "event once ack", true},
	{"success in silence", Outcome{Kind: job.EventSucceeded, Silent: true}, false, "once ack", true},
	{"exhausted", Outcome{Kind: job.EventDead, Reason: job.ReasonExhausted, Error: "boom"}, false, "event dead once ack", true},
	{"cancelled", Outcome{Kind: job.EventCancelled}, false, "event once ack", false},
	{"cancelled before its start", Outcome{Kind: job.EventCancelled}, true, "event ack", false},
	{"expired", Outcome{Kind: job.EventDead, Reason: job.ReasonExpired}, true, "event dead ack", false},
	{"malformed", Outcome{Kind: job.EventDead, Reason: job.ReasonMalformed}, false, "event dead ack", false},
}

// What did something keeps its id, and what never started leaves it free. The hold comes last, but
// for the ack; whatever is cut off between two writes, whoever goes on leaves the same.
func TestAnIDIsKeptAfterTheEnd(t *testing.T) {
	for _, r := range keptRows {
		writes := strings.Fields(r.writes)
		cuts := 1
		if r.cut {
			cuts += 2 * len(writes) // before each, and after it
		}
		for cut := range cuts {
			t.Run(fmt.Sprintf("%s/%d", r.name, cut), func(t *testing.T) {
				inScene(t, func(t *testing.T, s *scene) {
					record := s.enqueueKept("a")
					n := s.node("n")
					h := n.pull()
					if !r.unstarted {
						h.start()
					}
					var seen []string
					n.link.Watch(func(subject string) natstest.Fate {
						if !isWrite(subject) {
							return natstest.Pass
						}
						if seen = append(seen, short(subject)); (cut+1)/2 != len(seen) {
							return natstest.Pass
						}
						n.link.Down()
						return []natstest.Fate{natstest.CutAfter, natstest.CutBefore}[cut%2]
					})
					n.settler.Settle(h, r.outcome)
					s.sleep(time.Second)
					synctest.Wait()
					if cut == 0 && !slices.Equal(seen, writes) {
						t.Errorf("wrote %q, want %q", seen, writes)
					}
					n.crash()
					s.sleep(2 * testWait)
					ran := s.node("other").finishAll(Outcome{Kind: job.EventSucceeded})
					if again := cut == 1; again != (len(ran) > 0) {
						t.Errorf("it ran %d times more", len(ran))
					}
					if strings.Contains(r.writes, "once") || len(ran) > 0 {
						s.checkKept(record)
					} else {
						s.checkFree("a")
					}
				})
			})
		}
	}
}

// Whoever is handed a job again cannot know whether it had started, and keeps its id: also where a
// canceller that did not reach the job's worker has died before it did so.
func TestAnIDIsKeptIfCancellerAndWorkerDie(t *testing.T) {
	for cut := range 5 { // not at all, then before and after the event and the hold
		t.Run(strconv.Itoa(cut), func(t *testing.T) {
			inScene(t, func(_ *testing.T, s *scene) {
				record := s.enqueueKept("a")
				runner := s.node("runner")
				runner.pull().start()
				runner.crash()
				canceller := s.node("canceller")
				if cut > 0 {
					canceller.crashAt((cut+1)/2, []natstest.Fate{natstest.CutAfter, natstest.CutBefore}[cut%2])
				}
				ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
				defer cancel()
				r := &removal{store: canceller.store, place: testPlace("a"), life: record.Life, order: new(job.Order)}
				if err := r.run(ctx); (err != nil) != (cut > 0) {
					s.t.Errorf("cancel: %v", err)
				}
				canceller.crash()
				s.sleep(2 * testWait)
				s.node("other").finishAll(Outcome{Kind: job.EventSucceeded})
				s.checkKept(record)
			})
		})
	}
}

// A job whose worker has vanished keeps its id, too, if it cannot be put back.
func TestAnIDIsKeptOfALostJobThatCannotGoOn(t *testing.T) {
	inScene(t, func(_ *testing.T, s *scene) {
		record := s.record("a")
		record.UniqueUntil, record.Payload = time.Now().Add(kept), make([]byte, 2000)
		if err := s.store.Enqueue(s.ctx, enqueueOf(record, true, 0)); err != nil {
			s.t.Fatal(err)
		}
		runner := s.node("runner")
		runner.pull().start()
		runner.crash()
		s.limit(s.store.names.queueStream(queueName()), maxMsgSize(1000))
		s.sleep(2 * testWait)
		s.node("other").finishAll(Outcome{Kind: job.EventSucceeded})
		if got := s.kinds(record.Life); got != "lost dead" {
			s.t.Errorf("events: %s", got)
		}
		s.checkKept(record)
	})
}

// A job that its worker has cancelled before its start leaves its id free, also if that worker vanishes
// before it has acknowledged it.
func TestAnIDIsFreeIfAWorkerDiesThatDidNotStartTheJob(t *testing.T) {
	inScene(t, func(_ *testing.T, s *scene) {
		s.enqueueKept("a")
		n := s.node("n")
		n.crashAt(1, natstest.CutAfter)
		n.settler.Settle(n.pull(), CancelledBy(new(job.Order)))
		s.sleep(time.Second)
		n.crash()
		s.sleep(2 * testWait)
		s.node("other").finishAll(Outcome{Kind: job.EventSucceeded})
		s.checkFree("a")
	})
}

// A publisher of another kind may ask for a time that the broker cannot count to: the id is kept for as long as
// any may be, and not for no time at all.
func TestAnIDIsNotKeptForEver(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.record("a")
		r.UniqueUntil = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
			t.Fatal(err)
		}
		n := s.node("n")
		n.settler.Settle(n.pull().start(), Outcome{Kind: job.EventSucceeded})
		ended := time.Now()
		s.sleep(time.Second)
		err := s.store.Enqueue(s.ctx, enqueueOf(s.record("a"), true, 0))
		d, _ := errors.AsType[*DuplicateError](err)
		if d == nil || d.Until.Sub(ended.Add(job.MaxUnique)).Abs() > time.Second {
			t.Errorf("enqueue of its id: %v, want one that is taken for %v", err, job.MaxUnique)
		}
	})
}
