package millhand_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// foreignIDs are ids that anybody with a NATS client can publish, and no job can have: a
// broker ends the connection of who publishes a subject of over 4,096 bytes, so that events
// of the longest would end the worker's.
func foreignIDs() []string {
	ids := []string{
		"*", "**", "*x", ">x", "a=b", "a/b", "@", "$JS", "%s", "é", "日本", "\xff\xfe", "\x01", "a\x7fb", "'", `"`, "{}",
		"<script>", "[a-z]", "~", ":", "a,b", "a;b", "`", "\\",
	}
	for _, n := range []int{129, 130, 1000, 3900, 4000, 4020, 4028, 4030, 4032, 4040, 4050, 4060, 4062, 4063, 4064} {
		ids = append(ids, strings.Repeat("x", n))
	}
	return ids
}

// A message whose id no job can have is buried under a name of ours: the worker lives, its
// connection as well, and the job behind it runs.
func TestMessageUnderAForeignIDIsBuried(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var ran atomic.Int32
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error {
			ran.Add(1)
			return nil
		})
		nc := s.Connect(t)
		c := client(t, nc)
		if _, err := c.Enqueue(t.Context(), email{To: "before"}); err != nil { // makes the streams
			t.Fatal(err)
		}
		stored := make(map[string]bool) // subjects
		for _, id := range foreignIDs() {
			subject := "millhand.default.ready.email." + id
			publish(t, s, subject)
			stored[subject] = true
		}
		if n := len(streamed(t, nc, "millhand-queue-default")); n != 2+len(stored) {
			t.Fatalf("the queue holds %d messages, %d were published", n, len(stored))
		}
		workers := s.Connect(t)
		_, stop := start(t, workers, millhand.WorkerConfig{Mux: mux, Concurrency: 4})
		time.Sleep(time.Minute)
		succeeds(t, c, email{To: "behind"})
		if got := ran.Load(); got != 2 {
			t.Errorf("%d handlers ran, want those of the two good jobs", got)
		}
		if status := workers.Status(); status != nats.CONNECTED || workers.Stats().Reconnects != 0 {
			t.Errorf("the worker's connection is %v after %d reconnects", status, workers.Stats().Reconnects)
		}
		if n := messages(t, nc, "millhand-queue-default"); n != 1 {
			t.Errorf("the queue holds %d messages, want the pin", n)
		}
		checkBuried(t, nc, "millhand.dead.default.email.malformed-", stored)
		if err := stop(); err != nil {
			t.Errorf("drain: %v", err)
		}
	})
}

// What no consumer is handed, since its type or id is no name, is found in the queue and buried
// as well, ready or not; and what has a place and waits for no time runs.
func TestWhatNobodyIsHandedIsBuried(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var ran atomic.Int32
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error {
			ran.Add(1)
			return nil
		})
		_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		nc := s.Connect(t)
		succeeds(t, client(t, nc), email{})
		long := strings.Repeat("x", 4000)
		var stored []string
		for _, place := range []string{
			"ready.email.>", "ready.email.\x7f", "ready.email.", "ready.*.a", "ready.>.a", "ready.über.a", "ready..a", "ready." + long + ".a",
			"ready." + strings.Repeat("x", 65) + ".a", "ready.a=b.a", "ready.*.*", "ready.*.>",
			"later.email.*", "later.email.>", "later.email." + long, "later.*.a", "later.é.a", "later." + long + ".a", "later..",
		} {
			before := messages(t, nc, "millhand-queue-default")
			publish(t, s, "millhand.default."+place)
			if messages(t, nc, "millhand-queue-default") > before {
				stored = append(stored, "millhand.default."+place)
			} else {
				t.Logf("not stored, or not for long: %.40q", place)
			}
		}
		publish(t, s, "millhand.default.later.email.good")
		time.Sleep(20 * time.Minute)
		for _, m := range streamed(t, nc, "millhand-queue-default")[1:] {
			t.Errorf("left in the queue: %.60q", m.Subject)
		}
		if n := ran.Load(); n != 2 {
			t.Errorf("%d handlers ran, want those of the good jobs", n)
		}
		buried := make(map[string]int)
		for _, m := range streamed(t, nc, "millhand-dead") {
			buried[m.Header.Get("Millhand-Subject")]++
			if !strings.Contains(m.Subject, ".malformed-") || m.Header.Get("Millhand-Reason") != "malformed" {
				t.Errorf("a dead record at %.80q, %q", m.Subject, m.Header.Get("Millhand-Reason"))
			}
		}
		for _, subject := range stored {
			if strings.Contains(subject, "\x7f") {
				subject = fmt.Sprintf("%q", subject)
			}
			if buried[subject] != 1 {
				t.Errorf("%.60q has %d dead records", subject, buried[subject])
			}
		}
		if err := stop(); err != nil {
			t.Errorf("drain: %v", err)
		}
	})
}

// Type and id swapped by a publisher: a worker names a few, and says what it may be.
func TestSwappedTypesAreToldOnce(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		log := logged{started: make(chan struct{}, 1)}
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
		cfg := millhand.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Config: cfg, Mux: mux})
		time.Sleep(time.Second)
		nc := s.Connect(t)
		for i := range 2000 {
			if err := nc.Publish(fmt.Sprintf("millhand.default.ready.id-%d.email", i), nil); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Minute)
		// Ten are named, and one line says so, by the worker and among the problems.
		if n := strings.Count(log.String(), "level=WARN"); n > 22 || !strings.Contains(log.String(), "are type and id swapped") {
			t.Errorf("%d warnings: %s", n, log.String())
		}
		if err := stop(); err != nil {
			t.Errorf("drain: %v", err)
		}
	})
}

// publish is a plain publish over a connection of its own, which the broker may end.
func publish(t *testing.T, s *natstest.Server, subject string) {
	t.Helper()
	nc := s.Connect(t)
	defer nc.Close()
	if err := nc.Publish(subject, []byte("{}")); err != nil {
		t.Errorf("publish %.60q: %v", subject, err)
	}
	if err := nc.Flush(); err != nil {
		t.Errorf("publish %.60q: %v", subject, err)
	}
	time.Sleep(time.Millisecond) // for the stream to store it, which nobody is told
}

// checkBuried fails the test unless each of the subjects is that of one dead record, which
// is under a name of ours with one event, and nothing else is dead.
func checkBuried(t *testing.T, nc *nats.Conn, under string, subjects map[string]bool) {
	t.Helper()
	left := make(map[string]bool)
	for s := range subjects {
		left[s] = true
	}
	for _, m := range streamed(t, nc, "millhand-dead") {
		origin := m.Header.Get("Millhand-Subject")
		if strings.HasPrefix(origin, `"`) {
			if _, err := fmt.Sscanf(origin, "%q", &origin); err != nil {
				t.Errorf("unreadable subject %q: %v", origin, err)
			}
		}
		switch {
		case !left[origin]:
			t.Errorf("a dead record of %.60q, which is another's or another one", origin)
		case !strings.HasPrefix(m.Subject, under):
			t.Errorf("%.60q is buried at %s", origin, m.Subject)
		case m.Header.Get("Millhand-Reason") != "malformed":
			t.Errorf("%.60q is dead for the reason %q", origin, m.Header.Get("Millhand-Reason"))
		}
		delete(left, origin)
	}
	for s := range left {
		t.Errorf("%.60q has no dead record", s)
	}
	events := make(map[string]int)
	for _, m := range streamed(t, nc, "millhand-events") {
		if m.Header.Get("Millhand-Event") == "dead" {
			events[strings.Replace(m.Subject, "millhand.event.", "millhand.dead.", 1)]++
		}
	}
	for subject, n := range events {
		if n != 1 || !strings.HasPrefix(subject, under) {
			t.Errorf("%d events of %.80q", n, subject)
		}
	}
	if len(events) != len(subjects) {
		t.Errorf("%d jobs have an event that they are dead, want %d", len(events), len(subjects))
	}
}

// succeeds enqueues a job and waits for its success.
func succeeds(t *testing.T, c *millhand.Client, args millhand.Args) millhand.Ref {
	t.Helper()
	ref, err := c.Enqueue(t.Context(), args)
	if err != nil {
		t.Fatalf("enqueue %+v: %v", args, err)
	}
	if _, err := c.Await(t.Context(), ref); err != nil {
		t.Fatalf("await %+v: %v", args, err)
	}
	return ref
}

func messages(t *testing.T, nc *nats.Conn, stream string) uint64 {
	t.Helper()
	st := openStream(t, jetStream(t, nc), stream)
	return st.CachedInfo().State.Msgs
}

// streamed returns what a stream holds, in order.
func streamed(t *testing.T, nc *nats.Conn, stream string) (msgs []*jetstream.RawStreamMsg) {
	t.Helper()
	st := openStream(t, jetStream(t, nc), stream)
	state := st.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		if m, err := st.GetMsg(t.Context(), seq); err == nil {
			msgs = append(msgs, m)
		}
	}
	return msgs
}

// publishWith is a plain publish with one header, which the broker has when it returns.
func publishWith(t *testing.T, nc *nats.Conn, subject, header, value string) {
	t.Helper()
	m := nats.NewMsg(subject)
	m.Header[header] = []string{value}
	m.Data = []byte("{}")
	if _, err := nc.RequestMsg(m, 2*time.Second); err != nil {
		t.Fatalf("publish to %s: %v", subject, err)
	}
}
