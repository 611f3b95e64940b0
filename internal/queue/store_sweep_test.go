package queue

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

func (s *scene) sweeper() *Sweeper {
	s.t.Helper()
	w, err := NewSweeper(s.store, testQueue, []string{testType})
	if err != nil {
		s.t.Fatal(err)
	}
	return w
}

func (s *scene) sweep(w *Sweeper) {
	s.t.Helper()
	if err := w.sweep(s.ctx); err != nil {
		s.t.Fatalf("sweep: %v", err)
	}
}

// The broker takes a schedule that it could not fire for want of room for one in flight.
func TestOverdueJobIsFired(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n, w := s.node("n"), s.sweeper()
		for i := range 5 {
			s.enqueue(fmt.Sprintf("late-%d", i))
			if err := n.settle(n.pull(), Outcome{Kind: job.EventRetrying, Error: "e", Delay: 30 * time.Second}); err != nil {
				t.Fatal(err)
			}
		}
		s.enqueue("future")
		if err := n.settle(n.pull(), Outcome{Kind: job.EventRetrying, Error: "e", Delay: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.store.client.Publish(s.ctx, &nats.Msg{Subject: "millhand.dead.q.t.large", Data: make([]byte, 64<<10)}); err != nil {
			t.Fatal(err)
		}
		s.server.Stop()
		s.server.MaxStore = 32 << 10
		s.server.Start(t)
		s.sleep(2 * time.Minute)
		// As an operator makes room, without a restart of the broker.
		if _, err := s.store.client.Purge(s.ctx, s.store.names.deadStream(), stream.Purge{}); err != nil {
			t.Fatal(err)
		}
		s.sleep(2 * time.Minute)
		if got := s.ready(); got > 1 { // a broker learns with its first write that it is full
			t.Fatalf("%d jobs were made ready by the broker: what the sweeper is for has been mended there", got)
		}
		s.sweep(w)
		if got := s.ready(); got != 5 {
			t.Errorf("%d jobs are ready, want the 5 whose time has come", got)
		}
		s.sweep(w)
		for range 5 {
			h := n.pull()
			if h.Attempt != 2 || h.Malformed != nil {
				t.Errorf("%s: attempt %d, malformed %v", h.ID, h.Attempt, h.Malformed)
			}
			if err := n.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil {
				t.Errorf("settle %s: %v", h.ID, err)
			}
		}
		s.sleep(time.Second)
		if got := len(s.waiting()); got != 1 {
			t.Errorf("%d jobs left, want the one that is due in an hour", got)
		}
	})
}

// ready counts the messages that are to be run.
func (s *scene) ready() (n int) {
	for _, m := range s.waiting() {
		if strings.HasPrefix(m.Subject, "millhand.q.ready.") {
			n++
		}
	}
	return n
}

// A publisher who has a job wait and does not say for what.
func TestWaitingForNothingIsRun(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n, w := s.node("n"), s.sweeper()
		for _, m := range []*nats.Msg{
			{Subject: "millhand.q.later.t.plain", Data: []byte("1")},
			{Subject: "millhand.q.later.t.header", Data: []byte("2"), Header: nats.Header{job.HeaderLife: {"mine"}, job.HeaderAttempt: {"3"}}},
			{Subject: "millhand.q.later.~.other"},
			{Subject: s.store.names.probe(queueName())}, // which a worker that was killed left
		} {
			if _, err := s.store.client.Publish(s.ctx, m); err != nil {
				t.Fatal(err)
			}
		}
		s.sweep(w)
		if got := s.ready(); got != 0 {
			t.Errorf("%d jobs are ready at once: their publisher may be about to replace them", got)
		}
		s.sleep(sweepOverdue + time.Second)
		s.sweep(w)
		for _, want := range []struct {
			id, data, life string
			attempt        int
		}{{"plain", "1", "seq-", 1}, {"header", "2", "mine", 3}} {
			h := n.pull()
			if h.ID != want.id || string(h.Payload) != want.data || h.Life[:4] != want.life || h.Attempt != want.attempt {
				t.Errorf("got %s %q life %s attempt %d, want %+v", h.ID, h.Payload, h.Life, h.Attempt, want)
			}
			if err := n.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil {
				t.Errorf("settle: %v", err)
			}
		}
		s.sleep(time.Second)
		if got := len(s.waiting()); got != 0 {
			t.Errorf("%d messages left", got)
		}
		if got := s.all(s.store.names.deadStream()); len(got) != 1 || got[0].Header.Get(headerSubject) != "millhand.q.later.~.other" {
			t.Errorf("%d dead records, want that of the one that is no job", len(got))
		}
	})
}

// What an acknowledgement did not remove, since the disk was full, is as if it were not there,
// but for its room and its id.
func TestAcknowledgedMessagesAreRemoved(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n, w := s.node("n"), s.sweeper()
		ended, fresh := s.enqueue("ended"), s.enqueue("fresh")
		h := n.pull()
		m := (&settlement{store: n.store, Delivery: h, Outcome: Outcome{Kind: job.EventSucceeded}})
		if err := m.writeEvent(s.ctx); err != nil {
			t.Fatal(err)
		}
		waiting := s.waiting()
		s.forget(waiting[len(waiting)-1].Seq + 1)
		s.sweep(w)
		if got := len(s.waiting()); got != 2 {
			t.Errorf("%d messages after the first look, want 2: their removal may be on its way", got)
		}
		s.sweep(w)
		left := s.waiting()
		if len(left) != 1 || left[0].Header.Get(job.HeaderLife) != fresh.Life {
			t.Fatalf("left: %v, want one of the job that never ran", left)
		}
		if h := n.pull(); h.ID != "fresh" || h.Attempt != 1 || h.Crashes != 0 {
			t.Errorf("got %s attempt %d crashes %d", h.ID, h.Attempt, h.Crashes)
		} else if err := n.settle(h, Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Error(err)
		}
		s.sleep(time.Second)
		s.checkEnded(ended.Life, fresh.Life)
		s.enqueue("ended") // its id is free
	})
}

// forget has the consumer take all messages before seq for acknowledged.
func (s *scene) forget(seq uint64) {
	s.t.Helper()
	var answer struct {
		Error any `json:"error"`
	}
	err := s.store.client.Request(s.ctx, "CONSUMER.RESET.millhand-queue-q.t", map[string]any{"seq": seq}, &answer)
	if err != nil || answer.Error != nil {
		s.t.Fatalf("reset consumer: %v, %v", err, answer.Error)
	}
}

// A sweeper that made a job ready which had no time, and came no further, does not do so again
// once that has run.
func TestWaitingForNothingIsRunOnce(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n, w := s.node("n"), s.sweeper()
		for _, kind := range []string{"later", "ready"} {
			m := &nats.Msg{Subject: "millhand.q." + kind + ".t.plain", Data: []byte("1"), Header: nats.Header{job.HeaderLife: {"mine"}}}
			if _, err := s.store.client.Publish(s.ctx, m); err != nil {
				t.Fatal(err)
			}
			s.sleep(sweepOverdue + time.Second)
		}
		if err := n.settle(n.pull(), Outcome{Kind: job.EventSucceeded}); err != nil {
			t.Fatal(err)
		}
		s.sleep(time.Second)
		s.sweep(w)
		s.checkEnded("mine")
	})
}

// The history that makes room is none that may keep two holders of a job apart, whatever lease
// the consumers have.
func TestRoomIsNotMadeOfYoungHistory(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const lease = 10 * time.Minute
		consumer, err := s.store.js.Consumer(s.ctx, s.store.names.queueStream(queueName()), testType)
		if err != nil {
			t.Fatal(err)
		}
		cfg := consumer.CachedInfo().Config
		cfg.AckWait = lease
		if _, err := s.store.js.UpdateConsumer(s.ctx, s.store.names.queueStream(queueName()), cfg); err != nil {
			t.Fatal(err)
		}
		n := s.node("n")
		store := s.open(n.nc, Config{Node: "n"}) // as a worker that was told no lease
		if _, err := store.ensureConsumer(s.ctx, queueName(), typeName()); err != nil {
			t.Fatal(err)
		}
		for i := range 8 {
			m := &nats.Msg{Subject: fmt.Sprintf("millhand.event.q.t.old-%d", i), Data: []byte("{}")}
			if _, err := s.store.client.Publish(s.ctx, m); err != nil {
				t.Fatal(err)
			}
		}
		r := &reserve{store: store}
		s.sleep(lease)
		if r.forget(s.ctx) {
			t.Errorf("events of the last %v were removed while leases last as long", lease)
		}
		s.sleep(historyKeep + time.Second)
		if !r.forget(s.ctx) {
			t.Error("no events were removed though all are older than a lease")
		}
	})
}
