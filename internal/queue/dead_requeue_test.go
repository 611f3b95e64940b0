package queue

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// requeue has a dead job run again, which must work, and returns its life.
func (s *scene) requeue(d *DeadJob, how Revival) string {
	s.t.Helper()
	life, err := s.store.Requeue(s.ctx, testPlace(d.ID), d.Life, d.Seq, how)
	if err != nil {
		s.t.Fatalf("requeue %s: %v", d.ID, err)
	}
	return life
}

// A requeued job is what it was, but for what it had been through.
func TestRequeue(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		r := s.record("a")
		r.Meta, r.Trace = map[string]string{"k": "v"}, map[string]string{"traceparent": "00-1-2-01"}
		r.MaxAttempts, r.Timeout, r.Expires = 2, time.Minute, time.Hour
		if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
			t.Fatal(err)
		}
		n.fail(time.Minute, 2)
		time.Sleep(2 * time.Hour)
		d := s.deadOf(r.Life)
		requeued := time.Now()
		life := s.requeue(d, Revival{})
		if life != job.RequeuedLife(r.Life) {
			t.Errorf("life %s", life)
		}
		if got := s.deadIDs(DeadFilter{}); got != nil {
			t.Errorf("still dead: %q", got)
		}
		h := n.pull()
		if h.Life != life || h.RetryOf != r.Life || h.Attempt != 1 || h.Crashes != 0 || h.Started || !h.Awaited ||
			h.MaxAttempts != 2 || h.Timeout != time.Minute || h.Expires != time.Hour || h.Meta["k"] != "v" || h.Trace["traceparent"] == "" ||
			string(h.Payload) != string(r.Payload) || h.EnqueuedAt.Sub(requeued).Abs() > time.Second {
			t.Errorf("requeued %+v", h.Record)
		}
		reads := count(n.link, "STREAM.MSG.GET", natstest.Pass)
		if err := n.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil || reads.Load() > 0 {
			t.Errorf("settled with %d reads, %v", reads.Load(), err)
		}
		if got := s.kinds(r.Life) + ", " + s.kinds(life); got != "retrying dead, succeeded" {
			t.Errorf("events: %s", got)
		}
	})
}

// fail has a job fail as often as it may.
func (n *node) fail(pause time.Duration, times int) {
	n.t.Helper()
	for i := 1; i <= times; i++ {
		o := Outcome{Kind: job.EventRetrying, Error: "boom", Delay: pause}
		if i == times {
			o = Outcome{Kind: job.EventDead, Reason: job.ReasonExhausted, Error: "boom"}
		}
		if err := n.settle(n.pull(), o); err != nil {
			n.t.Fatal(err)
		}
		time.Sleep(pause + time.Second)
	}
}

// What a person says of a requeued job counts more than what it was enqueued with.
func TestRequeueOtherwise(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		d := n.die("a", Outcome{Reason: job.ReasonPermanent})
		asked := time.Now()
		life := s.requeue(d, Revival{MaxAttempts: 7, Timeout: time.Second, Delay: time.Hour})
		m, err := s.store.Find(s.ctx, testPlace("a"))
		if err != nil || m.Life != life || !m.RunAt.Equal(asked.Add(time.Hour)) {
			t.Fatalf("waits as %+v, %v", m, err)
		}
		if again := s.requeue(d, Revival{}); again != life {
			t.Errorf("requeued again as %s", again)
		}
		time.Sleep(time.Hour + time.Second)
		h := n.pull()
		if h.Life != life || h.MaxAttempts != 7 || h.Timeout != time.Second || h.RetryOf != d.Life {
			t.Errorf("requeued %+v", h.Record)
		}
	})
}

// Whatever became of a job that was requeued, to do so again is to be told of the same life.
func TestRequeueTwice(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		d := n.die("a", Outcome{Reason: job.ReasonPermanent})
		life := s.requeue(d, Revival{})
		again := func(when string) {
			t.Helper()
			if got := s.requeue(d, Revival{}); got != life {
				t.Errorf("%s: life %s, want %s", when, got, life)
			}
		}
		again("while it waits")
		h := n.pull()
		again("while it runs")
		if err := n.settle(h, Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(DedupWindow + time.Second)
		again("when it has died again")
		second := s.deadOf(life)
		third := s.requeue(second, Revival{})
		again("when it was requeued after that")
		n.finishAll(Outcome{Kind: job.EventSucceeded})
		again("when all is over")
		if got := s.kinds(d.Life) + ", " + s.kinds(life) + ", " + s.kinds(third); got != "dead, dead, succeeded" || len(s.events()) != 3 {
			t.Errorf("events: %s, of %d lives", got, len(s.events()))
		}
	})
}

// The record of a job is still there though it was requeued, since whoever did so has died: only the
// record is left to go.
func TestRequeueAfterACrash(t *testing.T) {
	for name, ended := range map[string]bool{"it waits": false, "it has ended": true} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				n := s.node("n")
				d := n.die("a", Outcome{Reason: job.ReasonPermanent})
				l := s.server.Link()
				died := s.open(l.Connect(t), Config{})
				l.Watch(func(subject string) natstest.Fate {
					if strings.Contains(subject, "MSG.DELETE") {
						l.Down()
						return natstest.CutBefore
					}
					return natstest.Pass
				})
				if _, err := died.Requeue(s.ctx, testPlace("a"), d.Life, d.Seq, Revival{}); err == nil {
					t.Fatal("the record was removed")
				}
				if ended {
					n.finishAll(Outcome{Kind: job.EventSucceeded})
					time.Sleep(DedupWindow + time.Second)
				}
				var became []Requeued
				for r, err := range s.store.RequeueDead(s.ctx, DeadFilter{}, Revivals{}) {
					if err != nil {
						t.Fatal(err)
					}
					became = append(became, r)
				}
				life := job.RequeuedLife(d.Life)
				if len(became) != 1 || became[0].Err != nil || became[0].Life != life {
					t.Errorf("became %+v", became)
				}
				n.finishAll(Outcome{Kind: job.EventSucceeded})
				if got := s.kinds(life); got != "succeeded" || len(s.deadIDs(DeadFilter{})) > 0 {
					t.Errorf("events: %s; dead: %q", got, s.deadIDs(DeadFilter{}))
				}
			})
		})
	}
}

// pullStarted is pull of a job whose handler starts.
func (n *node) pullStarted() *Delivery {
	n.t.Helper()
	h := n.pull()
	h.startedAt = time.Now()
	return h
}

// Records that cannot run as they are, and those that can though they lack something.
func TestRequeueOfOddRecords(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		for name, c := range map[string]struct {
			place   string
			header  nats.Header
			refused string // empty: it runs
		}{
			"no payload":        {"q.t.bare", nats.Header{headerPayloadOmitted: {"1048576"}}, "is without its payload"},
			"no job":            {"q.malformed.malformed-7", nats.Header{headerSubject: {"millhand.q.ready.t.*"}}, "was published on millhand.q.ready.t.*"},
			"a reserved queue":  {"event.t.x", nil, "is reserved"},
			"no headers at all": {"q.t.plain", nil, ""},
			"a bad header":      {"q.t.bad", nats.Header{job.HeaderTimeout: {"soon"}, job.HeaderLife: {"l"}}, ""},
		} {
			seq := s.foreign(c.place, c.header)
			var became []Requeued
			for r, err := range s.store.RequeueDead(s.ctx, DeadFilter{}, Revivals{}) {
				if err != nil {
					t.Fatal(err)
				}
				became = append(became, r)
			}
			if len(became) != 1 {
				t.Fatalf("%s: became %+v", name, became)
			}
			_, invalid := errors.AsType[*job.InvalidError](became[0].Err)
			if c.refused == "" && became[0].Err != nil || c.refused != "" && (!invalid || !strings.Contains(became[0].Err.Error(), c.refused)) {
				t.Errorf("%s: %v", name, became[0].Err)
			}
			if err := s.store.RemoveDead(s.ctx, seq); err != nil {
				t.Fatal(err)
			}
		}
		if ran := s.node("n").finishAll(Outcome{Kind: job.EventSucceeded}); len(ran) != 2 {
			t.Errorf("%d ran, want 2", len(ran))
		}
		if _, err := s.store.Requeue(s.ctx, testPlace("a"), "never", 1, Revival{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("of no record: %v", err)
		}
	})
}

// A tick that died is late when somebody has it run again, or its entry was edited meanwhile. That is
// no reason not to.
func TestRequeueOfATick(t *testing.T) {
	h := &Delivery{Record: job.Record{Tick: &job.Tick{Entry: "nightly", Rev: 1}, RetryOf: "died"}}
	asked := false
	s := new(Settler)
	s.JudgeTicks(func(context.Context, string) (e cron.Entry, known bool) {
		asked = true
		return e, true
	})
	if p := (&Puller{settler: s}); !p.mayTick(t.Context(), h) || asked {
		t.Error("a requeued tick is judged by its entry")
	}
}
