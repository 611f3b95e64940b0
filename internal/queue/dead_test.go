package queue

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

// die lets a job of this id die, and returns its record.
func (n *node) die(id string, o Outcome) *DeadJob {
	n.t.Helper()
	return n.deadOf(n.kill(id, o))
}

// kill lets a job of this id die, and returns its life.
func (n *node) kill(id string, o Outcome) (life string) {
	n.t.Helper()
	r := n.enqueue(id)
	o.Kind = job.EventDead
	if err := n.settle(n.pull(), o); err != nil {
		n.t.Fatal(err)
	}
	time.Sleep(time.Millisecond) // acks are not confirmed
	return r.Life
}

// deadOf returns the record of a life.
func (s *scene) deadOf(life string) *DeadJob {
	s.t.Helper()
	for d, err := range s.store.Dead(s.ctx, DeadFilter{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		if d.Life == life {
			return d
		}
	}
	s.t.Fatalf("no record of %s", life)
	return nil
}

func (s *scene) deadIDs(f DeadFilter) []string {
	s.t.Helper()
	var ids []string
	for d, err := range s.store.Dead(s.ctx, f) {
		if err != nil {
			s.t.Fatal(err)
		}
		ids = append(ids, d.ID)
	}
	return ids
}

// A record tells what the job was and how each of its attempts went.
func TestDeadJob(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		r := s.record("a")
		r.Meta, r.MaxAttempts, r.Timeout, r.Expires = map[string]string{"customer": "42"}, 2, time.Minute, time.Hour
		enqueued := time.Now()
		if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
			t.Fatal(err)
		}
		if err := n.settle(n.pull(), Outcome{Kind: job.EventRetrying, Error: "no route", Delay: time.Minute}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if err := n.settle(n.pull(), Outcome{Kind: job.EventDead, Reason: job.ReasonExhausted, Error: "no route again", Stack: "goroutine 7"}); err != nil {
			t.Fatal(err)
		}
		d := s.deadOf(r.Life)
		if d.ID != "a" || d.Type != testType || d.Queue != testQueue || string(d.Payload) != string(r.Payload) ||
			d.Attempt != 2 || d.MaxAttempts != 2 || d.Timeout != time.Minute || d.Expires != time.Hour || d.Meta["customer"] != "42" ||
			d.Reason != job.ReasonExhausted || d.EnqueuedAt.Sub(enqueued).Abs() > time.Second || time.Since(d.DiedAt) > time.Second {
			t.Errorf("dead job %+v", d)
		}
		want := []Failure{
			{Attempt: 1, Node: "n", Event: "retrying", Error: "no route"},
			{Attempt: 2, Node: "n", Event: "dead", Error: "no route again", Stack: "goroutine 7"},
		}
		for i := range d.Failures {
			d.Failures[i].Time = time.Time{}
		}
		if !slices.Equal(d.Failures, want) {
			t.Errorf("failures %+v", d.Failures)
		}
	})
}

// What a filter finds is yielded, counted and removed alike.
func TestDeadFilter(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		if got := s.deadIDs(DeadFilter{}); got != nil {
			t.Errorf("dead before anything died: %q", got)
		}
		n := s.node("n")
		n.die("a", Outcome{Reason: job.ReasonPermanent, Error: "no such address"})
		noon := time.Now()
		time.Sleep(time.Hour)
		n.die("b", Outcome{Reason: job.ReasonExhausted, Error: "no route"})
		one := time.Now()
		time.Sleep(time.Hour)
		n.die("c", Outcome{Reason: job.ReasonExpired})
		s.foreign("other.t.d", nil)
		for i, c := range []struct {
			f    DeadFilter
			want string
		}{
			{DeadFilter{}, "a b c d"},
			{DeadFilter{Queue: testQueue}, "a b c"},
			{DeadFilter{Type: testType}, "a b c d"},
			{DeadFilter{Queue: "other", Type: testType, ID: "d"}, "d"},
			{DeadFilter{ID: "b"}, "b"},
			{DeadFilter{Reason: job.ReasonExhausted}, "b"},
			{DeadFilter{Error: "no "}, "a b"},
			{DeadFilter{Error: "no ", Reason: job.ReasonPermanent}, "a"},
			{DeadFilter{Since: noon}, "b c d"},
			{DeadFilter{Until: noon}, "a"},
			{DeadFilter{Since: noon, Until: one}, "b"},
			{DeadFilter{ID: "nobody"}, ""},
		} {
			if got := strings.Join(s.deadIDs(c.f), " "); got != c.want {
				t.Errorf("case %d yields %q, want %q", i, got, c.want)
			}
			if got, err := s.store.CountDead(s.ctx, c.f); err != nil || got != len(strings.Fields(c.want)) {
				t.Errorf("case %d counts %d, want %q, %v", i, got, c.want, err)
			}
		}
		for i, c := range []struct {
			f       DeadFilter
			removed int
			left    string
		}{
			{DeadFilter{ID: "nobody"}, 0, "a b c d"},
			{DeadFilter{Error: "route"}, 1, "a c d"},
			{DeadFilter{Queue: "other"}, 1, "a c"},
			{DeadFilter{}, 2, ""},
			{DeadFilter{}, 0, ""},
		} {
			if n, err := s.store.PurgeDead(s.ctx, c.f); err != nil || n != c.removed {
				t.Errorf("purge %d removed %d, want %d, %v", i, n, c.removed, err)
			}
			if got := strings.Join(s.deadIDs(DeadFilter{}), " "); got != c.left {
				t.Errorf("purge %d left %q, want %q", i, got, c.left)
			}
		}
		if len(s.events()) != 3 {
			t.Error("a purge of dead jobs took their events")
		}
	})
}

func TestDeadFilterOfBadNames(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		now := time.Now()
		for _, f := range []DeadFilter{{Queue: "*"}, {Queue: "event"}, {Type: "a b"}, {ID: ">"}, {Since: now, Until: now}} {
			var errs []error
			for _, err := range s.store.Dead(s.ctx, f) {
				errs = append(errs, err)
			}
			_, err := s.store.CountDead(s.ctx, f)
			errs = append(errs, err)
			_, err = s.store.PurgeDead(s.ctx, f)
			for _, err := range append(errs, err) {
				if _, ok := errors.AsType[*job.InvalidError](err); !ok {
					t.Errorf("%+v: %v", f, err)
				}
			}
		}
	})
}

// What dies while the dead are read is not among them, so a loop that lets them run again ends.
func TestDeadEndsAtWhatWasDead(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		for i := range 3 {
			n.die(strconv.Itoa(i), Outcome{Reason: job.ReasonPermanent})
		}
		seen := 0
		for d, err := range s.store.Dead(s.ctx, DeadFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			n.die("again-"+d.ID, Outcome{Reason: job.ReasonPermanent})
			seen++
		}
		if seen != 3 {
			t.Errorf("%d seen, want 3", seen)
		}
	})
}

// A stream that an operator closed for direct reads is read all the same.
func TestDeadWithoutDirectReads(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		n.die("a", Outcome{Reason: job.ReasonPermanent})
		n.die("b", Outcome{Reason: job.ReasonPermanent})
		s.editStream("millhand-dead", func(c *jetstream.StreamConfig) { c.AllowDirect = false })
		if got := s.deadIDs(DeadFilter{}); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("dead: %q", got)
		}
		if n, err := s.store.CountDead(s.ctx, DeadFilter{}); err != nil || n != 2 {
			t.Errorf("%d counted, %v", n, err)
		}
	})
}

// foreign writes to the stream of the dead what no worker has.
func (s *scene) foreign(place string, h nats.Header) uint64 {
	s.t.Helper()
	seq, err := s.store.client.Publish(s.ctx, &nats.Msg{Subject: "millhand.dead." + place, Header: h, Data: []byte("x")})
	if err != nil {
		s.t.Fatal(err)
	}
	return seq
}
