package queue

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A delivery that was read too late is not run: another has the job by then.
func TestLateDeliveryIsDropped(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("slow", 1, succeed)
		other := s.node("other")
		s.sleep(100 * time.Millisecond) // its request stands
		st.link.Hold()                  // SIGSTOP
		r := s.enqueue("a")
		s.sleep(testWait)
		h := other.pull()
		if h.Delivered != 2 {
			t.Fatalf("delivery %d, want the second", h.Delivered)
		}
		st.link.Release()
		s.sleep(time.Second)
		if got := len(st.runs()); got != 0 {
			t.Errorf("the late worker ran it %d times", got)
		}
		if err := other.redelivered(h); err != nil {
			t.Fatal(err)
		}
		s.sleep(time.Minute)
		s.checkEnded(r.Life)
		if got := s.kinds(r.Life); got != "lost succeeded" {
			t.Errorf("events %s", got)
		}
	})
}

// A delivery other than the first is settled, never run.
func TestRedeliveryIsNeverRun(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		gone := s.node("gone")
		seq := gone.pull().Seq
		gone.crash()
		st := s.station("n", 1, succeed)
		s.sleep(2 * testWait)
		s.checkEnded(r.Life)
		for _, h := range st.runs() {
			if h.Delivered != 1 || h.Seq == seq {
				t.Errorf("ran delivery %d of sequence %d", h.Delivered, h.Seq)
			}
		}
		if got := s.kinds(r.Life); got != "lost succeeded" {
			t.Errorf("events %s", got)
		}
	})
}

// What must never run ends as dead with its reason, and stops nobody.
func TestBadMessagesEndDead(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		bad := map[string]struct {
			id     string
			header nats.Header
			reason string
		}{
			"broken count":    {"a", nats.Header{job.HeaderAttempt: {"many"}}, job.ReasonMalformed},
			"broken duration": {"b", nats.Header{job.HeaderTimeout: {"soon"}}, job.ReasonMalformed},
			"bad id":          {"a b$c", nil, job.ReasonMalformed},
			"long id":         {strings.Repeat("x", 200), nil, job.ReasonMalformed},
			"binary life":     {"c", nats.Header{job.HeaderLife: {"\xff\xfe"}}, job.ReasonMalformed},
			"too much meta":   {"d", nats.Header{job.HeaderMeta + "k": {strings.Repeat("x", 20_000)}}, job.ReasonMalformed},
			"expired":         {"e", nats.Header{job.HeaderExpires: {"1m"}}, job.ReasonExpired},
		}
		lives := make(map[string]string)
		for name, b := range bad {
			if name == "bad id" {
				b.id = "a$c"
			}
			lives[lifeOf(s.publish(b.id, b.header, "payload of "+name))] = name
		}
		ok := s.publish("fine", nats.Header{stream.HeaderStatus: {"100"}, stream.HeaderDescription: {"looks like the broker's"}}, "x")
		late := s.publish("in-time", nats.Header{job.HeaderExpires: {"1h"}}, "x")
		s.sleep(2 * time.Minute)
		st := s.station("n", 4, succeed)
		s.sleep(10 * time.Second)
		if got := len(st.runs()); got != 2 {
			t.Errorf("ran %d jobs, want 2", got)
		}
		all := []string{lifeOf(ok), lifeOf(late)}
		for life, name := range lives {
			all = append(all, life)
			events := s.events()[life]
			if len(events) != 1 || events[0].Kind != job.EventDead || events[0].Reason != bad[name].reason || events[0].Error == "" {
				t.Errorf("%s: %+v", name, events)
			}
			if m := s.records()[life]; len(m) != 1 || string(m[0].Data) != "payload of "+name {
				t.Errorf("%s: %d dead records", name, len(m))
			}
		}
		s.checkEnded(all...)
	})
}

// Where one line is no header, the client library hands out none of them: such a job must not
// run as if it had asked for nothing.
func TestHeadersThatNobodyCanReadEndDead(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		broken := map[string]string{
			"after":  job.HeaderMaxAttempts + ": 1\r\nno header\r\n",
			"before": "no header\r\n" + job.HeaderTimeout + ": 1s\r\n",
		}
		for id, headers := range broken {
			s.rawPublish(id, headers, "payload of "+id)
		}
		s.rawPublish("none", "", "x")
		st := s.station("n", 4, succeed)
		s.sleep(10 * time.Second)
		if runs := st.runs(); len(runs) != 1 {
			t.Errorf("ran %d jobs, want the one without headers", len(runs))
		}
		dead := 0
		for _, events := range s.events() {
			for _, e := range events {
				if e.Kind == job.EventDead && e.Reason == job.ReasonMalformed && strings.Contains(e.Error, "no header") {
					dead++
				}
			}
		}
		if dead != len(broken) {
			t.Errorf("%d jobs ended dead as malformed, want %d", dead, len(broken))
		}
	})
}
