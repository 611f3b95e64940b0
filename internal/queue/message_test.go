package queue

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// hold keeps an id taken until a time, as a worker does at the end of a job.
func (s *scene) hold(id, life string, until time.Time) {
	s.t.Helper()
	m := &nats.Msg{Subject: s.store.names.once(testPlace(id)), Header: nats.Header{
		job.HeaderLife:        {life},
		stream.HeaderSchedule: {"@at " + until.UTC().Format(time.RFC3339Nano)},
		stream.HeaderTarget:   {s.store.names.spent(queueName())},
	}}
	if _, err := s.store.client.Publish(s.ctx, m); err != nil {
		s.t.Fatalf("hold of %s: %v", id, err)
	}
}

// A hold keeps an id from being enqueued, and is never taken for a job.
func TestAHoldIsNoJob(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		until := time.Now().Add(time.Minute)
		s.hold("a", "gone", until)
		if m, err := s.store.Find(s.ctx, testPlace("a")); !errors.Is(err, ErrNotFound) {
			t.Errorf("Find = %+v, %v", m, err)
		}
		err := s.store.Enqueue(s.ctx, enqueueOf(s.record("a"), true, 0))
		d, _ := errors.AsType[*DuplicateError](err)
		if d == nil || d.Life != "gone" || !d.Until.Equal(until) {
			t.Errorf("Enqueue = %v, %+v", err, d)
		}
		if n, err := s.store.countAlive(s.ctx, testPlace("a"), 100, 1<<60); n != 0 || err != nil {
			t.Errorf("%d are alive, %v", n, err)
		}
		if e := <-s.await(""); !errors.Is(e.err, ErrNotFound) {
			t.Errorf("Await of a held id = %v", e.err)
		}
		s.sleep(time.Until(until) + time.Second)
		s.enqueue("a")
	})
}

// While a job ends its hold is there before its message goes.
func TestAJobIsFoundUnderItsHold(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		s.hold("a", r.Life, time.Now().Add(time.Minute))
		m, hold, err := s.store.findOrHold(s.ctx, testPlace("a"))
		if err != nil || m == nil || m.Life != r.Life || hold == nil || hold.Life != r.Life {
			t.Errorf("findOrHold = %+v, %+v, %v", m, hold, err)
		}
		if m, err := s.store.Find(s.ctx, testPlace("a")); err != nil || m.Life != r.Life {
			t.Errorf("Find = %+v, %v", m, err)
		}
	})
}

// A job that waits for its time, and whose publisher gave it no life, gets one when it is due:
// until then nobody can say which it will be.
func TestAScheduleWithoutALife(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		first := s.enqueue("a")
		if err := n.settle(n.pull(), succeed(nil)); err != nil {
			t.Fatal(err)
		}
		m := s.store.jobMsg(testPlace("a"), s.record("a"), time.Now().Add(time.Minute))
		delete(m.Header, job.HeaderLife)
		if _, err := s.store.client.Publish(s.ctx, m); err != nil {
			t.Fatal(err)
		}
		if m, err := s.store.Find(s.ctx, testPlace("a")); err != nil || m.Life != "" {
			t.Errorf("Find = %+v, %v", m, err)
		}
		end := s.await("")
		s.sleep(2 * time.Minute)
		h := n.pull()
		if err := n.settle(h, succeed(nil)); err != nil {
			t.Fatal(err)
		}
		if e := <-end; e.err != nil || e.Life != h.Life || e.Life != lifeOf(h.Seq) || e.Life == first.Life {
			t.Errorf("await returned %+v, want the end of %s", e, h.Life)
		}
	})
}
