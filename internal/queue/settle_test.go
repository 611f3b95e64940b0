package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// A row is how a run may end: what is written, and what becomes of the job.
type row struct {
	name     string
	outcome  Outcome
	writes   string // subjects in order, shortened
	attempt  int    // of the successor; 0: there is none
	subject  string // of the successor
	terminal bool
}

func (r row) String() string { return r.name }

var rows = []row{
	{"success", Outcome{Kind: job.EventSucceeded, Result: []byte(`{"n":1}`)}, "event ack", 0, "", true},
	{"error, attempts left", Outcome{Kind: job.EventRetrying, Error: "boom", Delay: 10 * time.Second}, "event later ack", 2, "later", false},
	{"error, no delay", Outcome{Kind: job.EventRetrying, Error: "boom"}, "event ready ack", 2, "ready", false},
	{"exhausted", Outcome{Kind: job.EventDead, Reason: job.ReasonExhausted, Error: "boom"}, "event dead ack", 0, "", true},
	{"cancelled", Outcome{Kind: job.EventCancelled}, "event ack", 0, "", true},
	{"snoozed", Outcome{Kind: job.EventSnoozed, Delay: time.Minute}, "event later ack", 1, "later", false},
	{"drained while running", Outcome{Kind: job.EventHandedBack}, "event ready ack", 1, "ready", false},
	{"handed back unstarted", Outcome{}, "ready ack", 1, "ready", false},
}

// A crash cuts a worker off at one of the writes of a row.
type crash struct {
	row
	write int // counted from 0
	fate  natstest.Fate
}

func (c crash) String() string { return fmt.Sprintf("%s/%d/%d", c.name, c.write+1, c.fate) }

// what is the write that meets the fate.
func (c crash) what() string { return strings.Fields(c.writes)[c.write] }

// wrote reports whether one of those writes reached the broker.
func (c crash) wrote(what ...string) bool {
	done := strings.Fields(c.writes)[:c.write]
	if c.fate == natstest.CutAfter {
		done = append(done, c.what())
	}
	return slices.ContainsFunc(what, func(w string) bool { return slices.Contains(done, w) })
}

// crashes yields all crashes before and after each write of the rows.
func crashes(rows []row, fates ...natstest.Fate) iter.Seq[crash] {
	return func(yield func(crash) bool) {
		for _, r := range rows {
			for write := range strings.Fields(r.writes) {
				for _, fate := range fates {
					if !yield(crash{r, write, fate}) {
						return
					}
				}
			}
		}
	}
}

// inScenes runs f with each case, as a test of its own in a scene of its own.
func inScenes[C fmt.Stringer](t *testing.T, cases iter.Seq[C], f func(t *testing.T, s *scene, c C)) {
	t.Helper()
	for c := range cases {
		t.Run(c.String(), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) { f(t, s, c) })
		})
	}
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
	case strings.Contains(subject, ".once."):
		return "once"
	case strings.Contains(subject, ".later."):
		return "later"
	case strings.Contains(subject, ".ready."):
		return "ready"
	}
	return subject
}

func TestOutcomeIsWrittenInOrder(t *testing.T) {
	inScenes(t, slices.Values(rows), func(t *testing.T, s *scene, r row) {
		s.enqueue("a")
		n := s.node("n")
		h := n.pull()
		var writes []string
		n.link.Watch(func(subject string) natstest.Fate {
			if isWrite(subject) {
				writes = append(writes, short(subject))
			}
			return natstest.Pass
		})
		if err := n.settle(h, r.outcome); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		n.link.Watch(nil)
		if got := strings.Join(writes, " "); got != r.writes {
			t.Errorf("wrote %s, want %s", got, r.writes)
		}
		if r.outcome.Kind != "" {
			e := s.events()[h.Life][0]
			if e.Kind != r.outcome.Kind || e.Attempt != 1 || e.Error != r.outcome.Error || e.Node != "n" || e.Seq != h.Seq {
				t.Errorf("event %+v", e)
			}
		}
		if !r.terminal {
			n.checkSuccessor(h, r)
		}
		s.checkEnded(h.Life)
	})
}

// checkSuccessor fails the test unless a row's successor of h is in the queue, and runs when it
// is due.
func (n *node) checkSuccessor(h *Delivery, r row) {
	n.t.Helper()
	msgs := n.waiting()
	if len(msgs) != 1 || short(msgs[0].Subject) != r.subject {
		n.t.Fatalf("the queue holds %v, want one message at %s", msgs, r.subject)
	}
	m, err := n.store.Find(n.ctx, h.place)
	if err != nil || m.Attempt != r.attempt || m.Crashes != 0 || m.Life != h.Life || !bytes.Equal(m.Payload, h.Payload) {
		n.t.Errorf("successor %+v, %v, want attempt %d", m, err, r.attempt)
	}
	if r.subject == "later" {
		if got := time.Until(m.RunAt).Round(time.Second); got != r.outcome.Delay.Round(time.Second) {
			n.t.Errorf("runs in %v, want %v", got, r.outcome.Delay)
		}
	}
	time.Sleep(r.outcome.Delay + time.Second)
	next := n.pull()
	if next.Delivered != 1 || next.Attempt != r.attempt || !next.EnqueuedAt.Equal(h.EnqueuedAt) {
		n.t.Errorf("next delivery %d, attempt %d, enqueued at %v, want a first one, attempt %d, %v",
			next.Delivered, next.Attempt, next.EnqueuedAt, r.attempt, h.EnqueuedAt)
	}
	if err := n.settle(next, Outcome{Kind: job.EventSucceeded}); err != nil {
		n.t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
}

// Whoever crashes between two writes leaves a job that runs again or is over, never one
// that is gone, ends twice or goes on after its end.
func TestCrashBetweenAnyTwoWrites(t *testing.T) {
	inScenes(t, crashes(rows, natstest.CutBefore, natstest.CutAfter), func(t *testing.T, s *scene, c crash) {
		r := s.enqueue("a")
		a := s.node("a")
		h := a.pull()
		a.crashAt(c.write+1, c.fate)
		_ = a.settle(h, c.outcome)
		time.Sleep(time.Second)
		a.crash()
		ran := s.node("b").finishAll(Outcome{Kind: job.EventSucceeded})
		s.checkEnded(r.Life)
		c.checkRuns(t, ran)
	})
}

// checkRuns compares the runs that followed a crash with what had been written.
func (c crash) checkRuns(t *testing.T, ran []*Delivery) {
	t.Helper()
	runs, attempt, crashes := 1, 1, 1 // lost, and run again
	switch {
	case c.terminal && c.wrote("event"):
		runs = 0
	case c.wrote("ready", "later"): // the successor stands: nothing was lost
		attempt, crashes = c.attempt, 0
	}
	if len(ran) != runs {
		t.Fatalf("ran %d times after the crash, want %d", len(ran), runs)
	}
	if runs == 1 && (ran[0].Attempt != attempt || ran[0].Crashes != crashes) {
		t.Errorf("ran as attempt %d after %d crashes, want %d and %d", ran[0].Attempt, ran[0].Crashes, attempt, crashes)
	}
}

// The settling of a redelivery may itself be cut off, again and again.
func TestCrashWhileSettlingARedelivery(t *testing.T) {
	redelivery := []row{{name: "lost", writes: "event ready ack"}}
	inScenes(t, crashes(redelivery, natstest.CutBefore, natstest.CutAfter), func(t *testing.T, s *scene, c crash) {
		r := s.enqueue("a")
		s.node("first").pull() // and vanishes
		for i := range 3 {
			n := s.node(fmt.Sprintf("n%d", i))
			time.Sleep(testWait)
			if h := n.tryPull(5*time.Second, testWait); h != nil && h.Delivered > 1 {
				n.crashAt(c.write+1, c.fate)
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
}

// A confirmation that is lost on the way back is asked for again by a worker that lives,
// which then recognizes its own write.
func TestOwnWriteIsRecognized(t *testing.T) {
	inScenes(t, crashes(rows, natstest.CutAfter), func(t *testing.T, s *scene, c crash) {
		r := s.enqueue("a")
		n := s.node("n")
		h := n.pull()
		n.renewer.Keep(h)
		synctest.Wait() // for the renewer, whose first renewal looks like an ack
		n.loseAnswer(c, h)
		if err := n.settle(h, c.outcome); err != nil {
			t.Fatalf("settle: %v", err)
		}
		time.Sleep(time.Second)
		if !c.terminal {
			if n := len(s.waiting()); n != 1 {
				t.Errorf("%d messages in the queue, want 1", n)
			}
			if ran := n.finishAll(Outcome{Kind: job.EventSucceeded}); len(ran) != 1 || ran[0].Crashes != 0 || ran[0].Attempt != c.attempt {
				t.Errorf("ran %d times: %+v", len(ran), ran)
			}
		}
		s.checkEnded(r.Life)
	})
}

// loseAnswer cuts the node off once, behind the write of c: it goes on over a new connection.
func (n *node) loseAnswer(c crash, h *Delivery) {
	count := 0
	n.link.Watch(func(subject string) natstest.Fate {
		renewal := subject == h.reply && c.what() != "ack"
		if !isWrite(subject) || renewal {
			return natstest.Pass
		}
		if count++; count == c.write+1 {
			return c.fate
		}
		return natstest.Pass
	})
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
	inScenes(t, slices.Values(rows), func(t *testing.T, s *scene, r row) {
		s.enqueue("a")
		n := s.node("n")
		h := n.pull()
		time.Sleep(testWait - margin(testWait))
		n.link.Watch(func(subject string) natstest.Fate {
			t.Errorf("wrote to %s", subject)
			return natstest.Pass
		})
		if err := n.settle(h, r.outcome); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("settle = %v, want ErrLeaseLost", err)
		}
		n.link.Watch(nil)
		n.finishAll(Outcome{Kind: job.EventSucceeded})
		s.checkEnded(h.Life)
	})
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
