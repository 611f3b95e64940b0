package queue

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

// rawPublish stores a job as a client in another language may: with header lines that nats.go
// would not write.
func (s *scene) rawPublish(id, headers, data string) {
	s.t.Helper()
	nc, err := s.server.InProcessConn()
	if err != nil {
		s.t.Fatalf("connect: %v", err)
	}
	defer func() { _ = nc.Close() }()
	go func() { _, _ = io.Copy(io.Discard, nc) }()
	head := "NATS/1.0\r\n" + headers + "\r\n"
	_, err = fmt.Fprintf(nc, "CONNECT {\"headers\":true,\"verbose\":false}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n",
		subjectOf(id), len(head), len(head)+len(data), head, data)
	if err != nil {
		s.t.Fatalf("publish: %v", err)
	}
	time.Sleep(time.Second)
}

// limit changes a stream as its operator may.
func (s *scene) limit(stream string, change func(*jetstream.StreamConfig)) {
	s.t.Helper()
	st, err := s.store.js.Stream(s.ctx, stream)
	if err != nil {
		s.t.Fatalf("look up %s: %v", stream, err)
	}
	cfg := st.CachedInfo().Config
	change(&cfg)
	if _, err := s.store.js.UpdateStream(s.ctx, cfg); err != nil {
		s.t.Fatalf("update %s: %v", stream, err)
	}
}

func maxMsgSize(n int32) func(*jetstream.StreamConfig) {
	return func(c *jetstream.StreamConfig) { c.MaxMsgSize = n }
}

func seal(c *jetstream.StreamConfig) { c.Sealed = true }

// drained stops the node's settler and returns how long it took and what it left.
func (n *node) drained() (took time.Duration, left error) {
	n.t.Helper()
	began := time.Now()
	n.stop()
	n.ended.Wait()
	return time.Since(began), n.settler.Left()
}

func (n *node) unsettled() int {
	jobs, _ := n.settler.Unsettled()
	return jobs
}

// takeAll does what a healthy worker does with whatever comes for so long.
func (n *node) takeAll(during time.Duration, o func(*Delivery) Outcome) (ran int) {
	n.t.Helper()
	for until := time.Now().Add(during); time.Now().Before(until); {
		h := n.tryPull(time.Second, testWait)
		if h == nil {
			continue
		}
		n.renewer.Keep(h)
		switch {
		case h.Delivered > 1:
			n.settler.Redelivered(h)
		case h.Malformed != nil:
			n.settler.Settle(h, Outcome{Kind: job.EventDead, Reason: job.ReasonMalformed, Error: h.Malformed.Error()})
		default:
			ran++
			n.settler.Settle(h, o(h))
		}
	}
	return ran
}

func always(o Outcome) func(*Delivery) Outcome { return func(*Delivery) Outcome { return o } }

// failing fails its attempts until the last of so many.
func failing(attempts, size int) func(*Delivery) Outcome {
	return func(h *Delivery) Outcome {
		o := Outcome{Kind: job.EventRetrying, Error: strings.Repeat("e", size), Stack: strings.Repeat("s", size)}
		if h.Attempt >= attempts {
			o.Kind, o.Reason = job.EventDead, job.ReasonExhausted
		}
		return o
	}
}

// What nats.go does not write again, such as a header's name that other clients send, ends its
// job and no other: the settler goes on, and a drain is clean.
func TestHeadersThatCannotBeWritten(t *testing.T) {
	for name, header := range map[string]string{
		"slash": job.HeaderMeta + "team/app: x", "at": job.HeaderMeta + "user@host: x", "space": job.HeaderMeta + "a b: x",
		"not ASCII": job.HeaderMeta + "größe: x", "brackets": job.HeaderMeta + "a[0]: x", "empty": job.HeaderMeta + ": x",
		"long key": job.HeaderMeta + strings.Repeat("k", 1000) + ": x", "much meta": job.HeaderMeta + "k: " + strings.Repeat("v", 65_000),
		"much trace": "tracestate: " + strings.Repeat("v", 65_000), "trace over the limit": "tracestate: " + strings.Repeat("v", 40_000),
		"odd attempt": job.HeaderAttempt + ": x\x01y", "odd life": job.HeaderLife + ": \xff\xfe",
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				s.rawPublish("bad", header+"\r\n"+job.HeaderMeta+"tenant: acme\r\n", "payload")
				good := s.enqueue("good")
				n := s.node("n")
				if ran := n.takeAll(time.Minute, always(Outcome{Kind: job.EventSucceeded})); ran != 1 {
					t.Errorf("ran %d jobs, want the good one", ran)
				}
				if left := s.waiting(); len(left) > 0 {
					t.Errorf("left in the queue: %v", left)
				}
				if got := s.kinds(good.Life); got != "succeeded" {
					t.Errorf("the good job: %q", got)
				}
				records := s.all(s.store.names.deadStream())
				if len(records) != 1 || string(records[0].Data) != "payload" || records[0].Header.Get(headerReason) != job.ReasonMalformed {
					t.Fatalf("dead records: %+v", records)
				}
				if meta := records[0].Header.Get(job.HeaderMeta + "tenant"); meta != "acme" && name != "much meta" {
					t.Errorf("the record has lost what could be written: %v", records[0].Header)
				}
				if took, left := n.drained(); took > time.Second || left != nil {
					t.Errorf("drained after %v: %v", took, left)
				}
			})
		})
	}
}

// More jobs that nats.go cannot write than a settler takes at once do not fill it.
func TestManyHeadersThatCannotBeWritten(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		record := s.record("bad")
		for i := range maxUnsettled + 10 {
			r := *record
			r.ID, r.Life = "bad-"+strconv.Itoa(i), "l"+strconv.Itoa(i)
			if err := s.store.Enqueue(s.ctx, enqueueOf(&r, false, 0)); err != nil {
				t.Fatal(err)
			}
			h := n.pull()
			h.Meta = map[string]string{"user@host": "x"} // as if it had been let in
			n.settler.Settle(h, Outcome{Kind: job.EventRetrying, Error: "boom"})
		}
		time.Sleep(time.Minute)
		if left := s.waiting(); len(left) > 0 || n.unsettled() > 0 {
			t.Errorf("%d left in the queue, %d unsettled", len(left), n.unsettled())
		}
		if got := s.kinds("l0"); got != "retrying dead" {
			t.Errorf("events %q", got)
		}
	})
}

// However little the broker takes, a job ends: with all that fits.
func TestLimitsThatEndJobs(t *testing.T) {
	big := Outcome{Kind: job.EventSucceeded, Result: []byte(`"` + strings.Repeat("r", 3000) + `"`)}
	tests := map[string]struct {
		stream  func(names) string
		change  func(*jetstream.StreamConfig)
		o       func(*Delivery) Outcome
		kinds   string // of the events
		last    string // in the error of the last one
		payload string // of the dead record: "whole", "omitted", or "" for none
	}{
		"result over the events' limit":   {names.eventStream, maxMsgSize(2000), always(big), "dead", "3002 bytes", "whole"},
		"stack over the events' limit":    {names.eventStream, maxMsgSize(2000), failing(2, 1000), "retrying dead", "eee", "whole"},
		"error over the events' limit":    {names.eventStream, maxMsgSize(1000), failing(2, 5000), "retrying dead", "eee", "whole"},
		"no event fits, success":          {names.eventStream, maxMsgSize(20), always(Outcome{Kind: job.EventSucceeded}), "", "", ""},
		"no event fits, result":           {names.eventStream, maxMsgSize(20), always(big), "", "", "whole"},
		"no event fits, failure":          {names.eventStream, maxMsgSize(20), failing(3, 10), "", "", "whole"},
		"events sealed, success":          {names.eventStream, seal, always(big), "", "", ""},
		"events sealed, failure":          {names.eventStream, seal, failing(2, 10), "", "", "whole"},
		"errors over the dead's limit":    {names.deadStream, maxMsgSize(9000), failing(3, 8000), "retrying retrying dead", "eee", "whole"},
		"payload over the dead's limit":   {names.deadStream, maxMsgSize(1000), failing(2, 10), "retrying dead", "eee", "omitted"},
		"barely a dead record":            {names.deadStream, maxMsgSize(250), failing(2, 10), "retrying dead", "eee", "omitted"},
		"no dead record fits":             {names.deadStream, maxMsgSize(20), failing(2, 10), "retrying dead", "eee", ""},
		"dead sealed":                     {names.deadStream, seal, failing(2, 10), "retrying dead", "eee", ""},
		"successor over the queue's":      {func(n names) string { return n.queueStream(queueName()) }, maxMsgSize(1000), failing(5, 10), "retrying dead", "eee", "whole"},
		"handed back over the queue's":    {func(n names) string { return n.queueStream(queueName()) }, maxMsgSize(1000), always(Outcome{}), "dead", "max", "whole"},
		"snoozed over the queue's limits": {func(n names) string { return n.queueStream(queueName()) }, maxMsgSize(1000), always(Outcome{Kind: job.EventSnoozed, Delay: time.Second}), "snoozed dead", "max", "whole"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				r := s.record("a")
				r.Payload = bytes.Repeat([]byte{'x'}, 5000)
				if err := s.store.Enqueue(s.ctx, enqueueOf(r, false, 0)); err != nil {
					t.Fatal(err)
				}
				s.limit(tt.stream(s.store.names), tt.change)
				n := s.node("n")
				n.takeAll(2*time.Minute, tt.o)
				if left := s.waiting(); len(left) > 0 || n.unsettled() > 0 {
					t.Errorf("%d left in the queue, %d unsettled", len(left), n.unsettled())
				}
				events := s.events()[r.Life]
				if got := s.kinds(r.Life); got != tt.kinds {
					t.Fatalf("events %q, want %q", got, tt.kinds)
				}
				if n := len(events); n > 0 && !strings.Contains(events[n-1].Error, tt.last) {
					t.Errorf("the last error is %q", events[n-1].Error)
				}
				s.checkRecord(tt.payload, len(r.Payload))
				if took, left := n.drained(); took > time.Second || left != nil {
					t.Errorf("drained after %v: %v", took, left)
				}
			})
		})
	}
}

func (s *scene) checkRecord(payload string, size int) {
	s.t.Helper()
	records := s.all(s.store.names.deadStream())
	if payload == "" {
		if len(records) != 0 {
			s.t.Errorf("%d dead records, want none", len(records))
		}
		return
	}
	if len(records) != 1 {
		s.t.Fatalf("%d dead records", len(records))
	}
	got, omitted := len(records[0].Data), records[0].Header.Get(headerPayloadOmitted)
	switch {
	case payload == "whole" && (got != size || omitted != ""):
		s.t.Errorf("record of %d bytes, omitted %q", got, omitted)
	case payload == "omitted" && (got != 0 || omitted != strconv.Itoa(size)):
		s.t.Errorf("record of %d bytes, omitted %q, want %d", got, omitted, size)
	}
}

// A broker that is started again with a smaller max_payload has jobs that it would not take again.
func TestMaxPayloadIsLowered(t *testing.T) {
	for name, o := range map[string]func(*Delivery) Outcome{
		"retry": failing(3, 10), "dead": failing(1, 10), "drain": always(Outcome{Kind: job.EventHandedBack}), "unstarted": always(Outcome{}),
		"success": always(Outcome{Kind: job.EventSucceeded}), "result": always(Outcome{Kind: job.EventSucceeded, Result: bytes.Repeat([]byte("r"), 600_000)}),
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				payload := strings.Repeat("x", 900_000)
				life := lifeOf(s.publish("a", nil, payload))
				s.server.Stop()
				s.server.Configure = func(o *server.Options) { o.MaxPayload = 500_000 }
				s.server.Start(t)
				time.Sleep(10 * time.Second)
				n := s.node("n")
				n.takeAll(2*time.Minute, o)
				events := s.events()[life]
				if len(events) == 0 || !events[len(events)-1].Kind.Final() || len(s.waiting()) > 0 || n.unsettled() > 0 {
					t.Errorf("events %q, in the queue %d, unsettled %d", s.kinds(life), len(s.waiting()), n.unsettled())
				}
				if events[len(events)-1].Kind == job.EventDead {
					s.checkRecord("omitted", len(payload))
				}
				if took, left := n.drained(); took > time.Second || left != nil {
					t.Errorf("drained after %v: %v", took, left)
				}
			})
		})
	}
}

// All headers that a job may bring, and all errors that it may have, fit together.
func TestLargestHeadersFitTheDeadRecord(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.record("a")
		r.Meta = map[string]string{"k": strings.Repeat("v", 16<<10-1)}
		r.Trace = map[string]string{"tracestate": strings.Repeat("t", 8<<10-10)}
		if err := s.store.Enqueue(s.ctx, enqueueOf(r, false, 0)); err != nil {
			t.Fatal(err)
		}
		s.node("n").takeAll(time.Minute, failing(9, 100_000))
		s.checkEnded(r.Life)
		m := s.records()[r.Life][0]
		if m.Header.Get("tracestate") != r.Trace["tracestate"] || m.Header.Get(job.HeaderMeta+"k") != r.Meta["k"] || m.Header.Get(headerErrors) == "" {
			t.Errorf("the record is not whole: %d headers", len(m.Header))
		}
	})
}

// A batch goes on behind an event that is refused for its size, and all of its jobs end.
func TestRefusalInABatch(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		s.limit(s.store.names.eventStream(), maxMsgSize(2000))
		n := s.node("n")
		n.settler.tracker.mu.Lock()
		n.settler.tracker.batchAbove = 0 // all in batches
		n.settler.tracker.mu.Unlock()
		var lives []string
		var held []*Delivery
		for i := range 100 {
			lives = append(lives, s.enqueue(strconv.Itoa(i)).Life)
			held = append(held, n.pull())
		}
		for i, h := range held {
			o := Outcome{Kind: job.EventSucceeded}
			if i%10 == 5 {
				o.Result = bytes.Repeat([]byte{'r'}, 4000)
			}
			n.settler.Settle(h, o)
		}
		time.Sleep(time.Minute)
		s.checkEnded(lives...)
		for i, life := range lives {
			want := "succeeded"
			if i%10 == 5 {
				want = "dead"
			}
			if got := s.kinds(life); got != want {
				t.Errorf("job %d: %s, want %s", i, got, want)
			}
		}
	})
}

// recorder keeps what is logged.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, string(b))
	return len(b), nil
}

func (r *recorder) with(text string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		if strings.Contains(l, text) {
			n++
		}
	}
	return n
}
