package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// rows is the table of how a run may end: what is written, and what becomes of the job.
var rows = []struct {
	name     string
	outcome  Outcome
	writes   string // subjects in order, shortened
	attempt  int    // of the successor; 0: there is none
	subject  string // of the successor
	terminal bool
}{
	{"success", Outcome{Kind: job.EventSucceeded, Result: []byte(`{"n":1}`)}, "event ack", 0, "", true},
	{"error, attempts left", Outcome{Kind: job.EventRetrying, Error: "boom", Delay: 10 * time.Second}, "event later ack", 2, "later", false},
	{"error, no delay", Outcome{Kind: job.EventRetrying, Error: "boom"}, "event ready ack", 2, "ready", false},
	{"exhausted", Outcome{Kind: job.EventDead, Reason: job.ReasonExhausted, Error: "boom"}, "event dead ack", 0, "", true},
	{"cancelled", Outcome{Kind: job.EventCancelled}, "event ack", 0, "", true},
	{"snoozed", Outcome{Kind: job.EventSnoozed, Delay: time.Minute}, "event later ack", 1, "later", false},
	{"drained while running", Outcome{Kind: job.EventHandedBack}, "event ready ack", 1, "ready", false},
	{"handed back unstarted", Outcome{}, "ready ack", 1, "ready", false},
}

// short names a write by what it is.
func short(subject string) string {
	switch {
	case strings.HasPrefix(subject, "$JS.ACK."):
		return "ack"
	case strings.HasPrefix(subject, "millhand.event."):
		return "event"
	case strings.HasPrefix(subject, "millhand.dead."):
		return "dead"
	case strings.Contains(subject, ".later."):
		return "later"
	case strings.Contains(subject, ".ready."):
		return "ready"
	}
	return subject
}

func TestOutcomeIsWrittenInOrder(t *testing.T) {
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				r := s.enqueue("a")
				n := s.node("n")
				h := n.pull()
				var writes []string
				n.link.Watch(func(subject string) natstest.Fate {
					if isWrite(subject) {
						writes = append(writes, short(subject))
					}
					return natstest.Pass
				})
				if err := n.settle(h, tt.outcome); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
				n.link.Watch(nil)
				if got := strings.Join(writes, " "); got != tt.writes {
					t.Errorf("wrote %s, want %s", got, tt.writes)
				}
				if tt.outcome.Kind != "" {
					e := s.events()[r.Life][0]
					if e.Kind != tt.outcome.Kind || e.Attempt != 1 || e.Error != tt.outcome.Error || e.Node != "n" || e.Seq != h.Seq {
						t.Errorf("event %+v", e)
					}
				}
				if tt.terminal {
					s.checkEnded(r.Life)
					return
				}
				msgs := s.waiting()
				if len(msgs) != 1 || short(msgs[0].Subject) != tt.subject {
					t.Fatalf("the queue holds %v, want one message at %s", msgs, tt.subject)
				}
				m, err := s.store.Find(s.ctx, testPlace("a"))
				if err != nil || m.Attempt != tt.attempt || m.Crashes != 0 || m.Life != r.Life || !bytes.Equal(m.Payload, r.Payload) {
					t.Errorf("successor %+v, %v, want attempt %d", m, err, tt.attempt)
				}
				if tt.subject == "later" {
					if got := time.Until(m.RunAt).Round(time.Second); got != tt.outcome.Delay.Round(time.Second) {
						t.Errorf("runs in %v, want %v", got, tt.outcome.Delay)
					}
				}
				time.Sleep(tt.outcome.Delay + time.Second)
				next := n.pull()
				if next.Delivered != 1 || next.Attempt != tt.attempt || !next.EnqueuedAt.Equal(h.EnqueuedAt) {
					t.Errorf("next delivery %d, attempt %d, enqueued at %v, want a first one, attempt %d, %v",
						next.Delivered, next.Attempt, next.EnqueuedAt, tt.attempt, h.EnqueuedAt)
				}
				if err := n.settle(next, Outcome{Kind: job.EventSucceeded}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
				s.checkEnded(r.Life)
			})
		})
	}
}

// Whoever crashes between two writes leaves a job that runs again or is over, never one
// that is gone, ends twice or goes on after its end.
func TestCrashBetweenAnyTwoWrites(t *testing.T) {
	for _, tt := range rows {
		for write := range strings.Fields(tt.writes) {
			for _, fate := range []natstest.Fate{natstest.CutBefore, natstest.CutAfter} {
				t.Run(fmt.Sprintf("%s/%d/%d", tt.name, write+1, fate), func(t *testing.T) {
					inScene(t, func(_ *testing.T, s *scene) {
						r := s.enqueue("a")
						a := s.node("a")
						h := a.pull()
						a.crashAt(write+1, fate)
						_ = a.settle(h, tt.outcome)
						time.Sleep(time.Second)
						a.crash()
						b := s.node("b")
						ran := b.finishAll(Outcome{Kind: job.EventSucceeded})
						s.checkEnded(r.Life)
						s.checkCounts(tt.outcome, tt.terminal, strings.Fields(tt.writes), write, fate, ran)
					})
				})
			}
		}
	}
}

// checkCounts compares the run that followed a crash with what had been written.
func (s *scene) checkCounts(o Outcome, terminal bool, writes []string, crashed int, fate natstest.Fate, ran []*Delivery) {
	s.t.Helper()
	done := writes[:crashed]
	if fate == natstest.CutAfter {
		done = writes[:crashed+1]
	}
	wrote := func(what ...string) bool {
		return slices.ContainsFunc(what, func(w string) bool { return slices.Contains(done, w) })
	}
	wantRuns, wantAttempt, wantCrashes := 1, 1, 1 // lost, and run again
	switch {
	case terminal && wrote("event"):
		wantRuns = 0
	case wrote("ready", "later"): // the successor stands: nothing was lost
		wantCrashes = 0
		if o.Kind == job.EventRetrying {
			wantAttempt = 2
		}
	}
	if len(ran) != wantRuns {
		s.t.Fatalf("ran %d times after the crash, want %d", len(ran), wantRuns)
	}
	if wantRuns == 1 && (ran[0].Attempt != wantAttempt || ran[0].Crashes != wantCrashes) {
		s.t.Errorf("ran as attempt %d after %d crashes, want %d and %d", ran[0].Attempt, ran[0].Crashes, wantAttempt, wantCrashes)
	}
}

// The settling of a redelivery may itself be cut off, again and again.
func TestCrashWhileSettlingARedelivery(t *testing.T) {
	for write := 1; write <= 3; write++ {
		for _, fate := range []natstest.Fate{natstest.CutBefore, natstest.CutAfter} {
			t.Run(fmt.Sprintf("%d/%d", write, fate), func(t *testing.T) {
				inScene(t, func(t *testing.T, s *scene) {
					r := s.enqueue("a")
					s.node("first").pull() // and vanishes
					for i := range 3 {
						n := s.node(fmt.Sprintf("n%d", i))
						time.Sleep(testWait)
						if h := n.tryPull(5*time.Second, testWait); h != nil && h.Delivered > 1 {
							n.crashAt(write, fate)
							_ = n.redelivered(h)
						}
						n.crash()
					}
					ran := s.node("last").finishAll(Outcome{Kind: job.EventSucceeded})
					s.checkEnded(r.Life)
					if len(ran) > 1 {
						t.Errorf("ran %d times", len(ran))
					}
				})
			})
		}
	}
}

// A confirmation that is lost on the way back is asked for again by a worker that lives,
// which then recognizes its own write.
func TestOwnWriteIsRecognized(t *testing.T) {
	for _, tt := range rows {
		for write, what := range strings.Fields(tt.writes) {
			t.Run(tt.name+"/"+what, func(t *testing.T) {
				inScene(t, func(t *testing.T, s *scene) {
					r := s.enqueue("a")
					n := s.node("n")
					h := n.pull()
					n.renewer.Keep(h)
					synctest.Wait() // for the renewer, whose first renewal looks like an ack
					count := 0
					n.link.Watch(func(subject string) natstest.Fate {
						if isWrite(subject) && subject != h.reply || subject == h.reply && what == "ack" {
							if count++; count == write+1 {
								return natstest.CutAfter
							}
						}
						return natstest.Pass
					})
					if err := n.settle(h, tt.outcome); err != nil {
						t.Fatalf("settle: %v", err)
					}
					time.Sleep(time.Second)
					if got, want := len(s.waiting()), 1; !tt.terminal && got != want {
						t.Errorf("%d messages in the queue, want %d", got, want)
					}
					if !tt.terminal {
						if ran := n.finishAll(Outcome{Kind: job.EventSucceeded}); len(ran) != 1 || ran[0].Crashes != 0 || ran[0].Attempt != tt.attempt {
							t.Errorf("ran %d times: %+v", len(ran), ran)
						}
					}
					s.checkEnded(r.Life)
				})
			})
		}
	}
}

// Errors of all attempts, in order, and the payload as it came.
func TestDeadRecordIsWhole(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.record("a")
		r.Payload = []byte("raw \x00 bytes, not JSON")
		r.Meta = map[string]string{"tenant": "acme"}
		r.MaxAttempts, r.Timeout = 3, time.Minute
		if err := s.store.Enqueue(s.ctx, enqueueOf(r, false, 0)); err != nil {
			t.Fatal(err)
		}
		n := s.node("n")
		for i := range 2 {
			err := n.settle(n.pull(), Outcome{Kind: job.EventRetrying, Error: fmt.Sprintf("error %d\nline 2", i+1), Stack: "stack"})
			if err != nil {
				t.Fatal(err)
			}
		}
		n.pull() // the worker vanishes
		time.Sleep(testWait)
		if err := n.redelivered(n.pull()); err != nil {
			t.Fatal(err)
		}
		if err := n.settle(n.pull(), Outcome{Kind: job.EventDead, Reason: job.ReasonExhausted, Error: "error 3"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		s.checkEnded(r.Life)
		m := s.records()[r.Life][0]
		var got job.Record
		if err := got.ReadHeader(m.Header); err != nil || got.Attempt != 3 || got.Crashes != 1 || got.MaxAttempts != 3 ||
			got.Timeout != time.Minute || got.Meta["tenant"] != "acme" || m.Header.Get(headerReason) != job.ReasonExhausted {
			t.Errorf("record %+v, %v", got, err)
		}
		if !bytes.Equal(m.Data, r.Payload) || m.Subject != "millhand.dead.q.t.a" {
			t.Errorf("record of %q at %s", m.Data, m.Subject)
		}
		var failures []Failure
		if err := json.Unmarshal([]byte(m.Header.Get(headerErrors)), &failures); err != nil {
			t.Fatal(err)
		}
		want := []string{"1 retrying error 1\nline 2", "2 retrying error 2\nline 2", "3 lost ", "3 dead error 3"}
		for i, f := range failures {
			if got := fmt.Sprintf("%d %s %s", f.Attempt, f.Event, f.Error); i >= len(want) || got != want[i] {
				t.Errorf("failure %d: %q", i, got)
			}
		}
		if len(failures) != len(want) {
			t.Errorf("%d failures, want %d", len(failures), len(want))
		}
	})
}

// A result that the broker cannot take ends the job as dead, with the limit in the text.
func TestResultTooLarge(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		n := s.node("n")
		if err := n.settle(n.pull(), Outcome{Kind: job.EventSucceeded, Result: bytes.Repeat([]byte{'x'}, 2<<20)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		s.checkEnded(r.Life)
		e := s.events()[r.Life][0]
		if e.Kind != job.EventDead || e.Reason != job.ReasonPermanent || !strings.Contains(e.Error, "limit of 1048576 bytes") {
			t.Errorf("event %+v", e)
		}
	})
}

// A payload that a plain publisher made as large as the broker takes: a retry needs room
// for headers that is not there, so the job is dead instead of lost, and kept whole.
func TestPayloadAtTheBrokersLimit(t *testing.T) {
	for name, o := range map[string]Outcome{
		"retry": {Kind: job.EventRetrying, Error: "boom"}, "drain": {Kind: job.EventHandedBack},
		"unstarted": {}, "dead": {Kind: job.EventDead, Reason: job.ReasonPermanent, Error: "boom"},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				payload := strings.Repeat("x", int(s.store.nc.MaxPayload()))
				seq := s.publish("a", nil, payload)
				n := s.node("n")
				if err := n.settle(n.pull(), o); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
				life := lifeOf(seq)
				last := s.events()[life]
				if len(last) == 0 || last[len(last)-1].Kind != job.EventDead || len(s.waiting()) > 0 {
					t.Fatalf("events %s, in the queue %d", s.kinds(life), len(s.waiting()))
				}
				if o.Error != "" && !strings.Contains(last[len(last)-1].Error, "boom") {
					t.Errorf("the handler's error is gone: %q", last[len(last)-1].Error)
				}
				records := s.all(s.store.names.deadStream())
				if len(records) != 1 || string(records[0].Data) != payload {
					t.Errorf("%d dead records", len(records))
				}
			})
		})
	}
}

// An enqueued payload of the largest size is retried, and its dead record has all headers.
func TestLargestPayloadIsRetried(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.record("a")
		r.Payload = bytes.Repeat([]byte{'x'}, s.store.payloadLimit())
		if err := s.store.Enqueue(s.ctx, enqueueOf(r, false, 0)); err != nil {
			t.Fatal(err)
		}
		n := s.node("n")
		long := strings.Repeat("e", 100_000)
		for range 9 {
			if err := n.settle(n.pull(), Outcome{Kind: job.EventRetrying, Error: long, Stack: long}); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.settle(n.pull(), Outcome{Kind: job.EventDead, Reason: job.ReasonExhausted, Error: long, Stack: long}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		s.checkEnded(r.Life)
		if m := s.records()[r.Life][0]; !bytes.Equal(m.Data, r.Payload) || m.Header.Get(headerErrors) == "" {
			t.Errorf("record of %d bytes with headers %d", len(m.Data), len(m.Header))
		}
		r.Payload = append(r.Payload, 'x')
		err := s.store.Enqueue(s.ctx, enqueueOf(r, false, 0))
		if e, ok := errors.AsType[*TooLargeError](err); !ok || e.Limit != s.store.payloadLimit() {
			t.Errorf("a byte more: %v", err)
		}
	})
}

// Whoever has lost the lease writes nothing at all.
func TestLostLeaseWritesNothing(t *testing.T) {
	for _, tt := range rows {
		inScene(t, func(t *testing.T, s *scene) {
			r := s.enqueue("a")
			n := s.node("n")
			h := n.pull()
			time.Sleep(testWait - margin(testWait))
			n.link.Watch(func(subject string) natstest.Fate {
				t.Errorf("%s: wrote to %s", tt.name, subject)
				return natstest.Pass
			})
			if err := n.settle(h, tt.outcome); !errors.Is(err, ErrLeaseLost) {
				t.Errorf("%s: settle = %v, want ErrLeaseLost", tt.name, err)
			}
			n.link.Watch(nil)
			n.finishAll(Outcome{Kind: job.EventSucceeded})
			s.checkEnded(r.Life)
		})
	}
}

// The poison job: it kills its worker each time, and ends dead with its crashes counted.
func TestJobThatKillsItsWorkerIsDead(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		runs := 0
		for i := range 20 {
			n := s.node(fmt.Sprintf("n%d", i))
			h := n.pull()
			if h.Delivered == 1 {
				if runs++; h.Crashes != runs-1 || h.Attempt != 1 {
					t.Errorf("run %d: %d crashes, attempt %d", runs, h.Crashes, h.Attempt)
				}
				n.crash()
				time.Sleep(testWait)
				continue
			}
			if err := n.redelivered(h); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
			if len(s.waiting()) == 0 {
				break
			}
		}
		s.checkEnded(r.Life)
		events := s.events()[r.Life]
		last := events[len(events)-1]
		if runs != job.MaxCrashes+1 || last.Reason != job.ReasonCrashed || !strings.Contains(last.Error, "6 times") {
			t.Errorf("%d runs, then %s: %s", runs, last.Reason, last.Error)
		}
	})
}

// Nothing of the broker's own leaks into a successor: not the dedup id, which would swallow
// it, and no header of the caller's that the broker would obey.
func TestSuccessorCarriesNoBrokerHeaders(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		s.publish("a", nats.Header{
			"Nats-Msg-Id": {"mine"}, "X-Foreign": {"kept by nobody"}, job.HeaderMeta + "k": {"v"},
		}, "x")
		n := s.node("n")
		if err := n.settle(n.pull(), Outcome{Kind: job.EventRetrying, Error: "e"}); err != nil {
			t.Fatal(err)
		}
		for _, m := range s.waiting() {
			if m.Subject != "millhand.q.ready.t.a" || m.Header.Get(job.HeaderAttempt) != "2" {
				continue
			}
			for k := range m.Header {
				if strings.HasPrefix(k, "Nats-") && !strings.HasPrefix(k, "Nats-Expected-") {
					t.Errorf("successor has header %s: %v", k, m.Header[k])
				}
			}
			if m.Header.Get(job.HeaderMeta+"k") != "v" {
				t.Errorf("successor has lost its metadata: %v", m.Header)
			}
		}
	})
}
