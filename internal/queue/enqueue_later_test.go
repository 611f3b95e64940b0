package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// firesEvery is how late the broker's timer may be.
const firesEvery = 250 * time.Millisecond

// delayed is the enqueue of a job that waits.
func (s *scene) delayed(id string, d time.Duration) Enqueue {
	e := enqueueOf(s.record(id), true, 0)
	e.Delay = d
	return e
}

// enqueueLater stores a job that waits.
func (s *scene) enqueueLater(id string, d time.Duration) *job.Record {
	s.t.Helper()
	e := s.delayed(id, d)
	if err := s.store.Enqueue(s.ctx, e); err != nil {
		s.t.Fatalf("enqueue %s: %v", id, err)
	}
	return e.Record
}

// startTimes notes when jobs start.
type startTimes struct {
	mu sync.Mutex
	at map[string]time.Time // by id
}

func (m *startTimes) run(h *Delivery) Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil {
		m.at = make(map[string]time.Time)
	}
	m.at[h.ID] = time.Now()
	return succeed(h)
}

// None of a thousand jobs starts before its time, nor more than the tick of the broker's timer after
// it, one by one or in a batch; not even if the broker was stopped when the time came.
func TestDueJobsAreNeverEarly(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		var ran startTimes
		s.station("n", 1000, ran.run)
		due := make(map[string]time.Time)
		var lives []string
		batch := make([]Enqueue, 0, 500)
		for i := range 1000 {
			e := s.delayed(fmt.Sprintf("j%d", i), time.Duration(rand.Int64N(int64(10*time.Minute))))
			due[e.Record.ID] = time.Now().Add(e.Delay)
			lives = append(lives, e.Record.Life)
			if i%2 == 0 {
				e.Delay, e.RunAt = 0, due[e.Record.ID]
				batch = append(batch, e)
				continue
			}
			if err := s.store.Enqueue(s.ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		for i, err := range s.store.EnqueueMany(s.ctx, batch) {
			if err != nil {
				t.Fatalf("batch[%d]: %v", i, err)
			}
		}
		s.sleep(4 * time.Minute)
		s.server.Stop()
		stopped := time.Now()
		s.sleep(time.Minute)
		s.server.Start(t)
		started := time.Now()
		s.sleep(6 * time.Minute)
		ran.mu.Lock()
		defer ran.mu.Unlock()
		for id, at := range due {
			late := ran.at[id].Sub(at)
			switch {
			case late < 0:
				t.Errorf("%s, due at %v, ran %v early or never", id, at, -late)
			case at.Before(stopped.Add(-time.Second)) || at.After(started.Add(10*time.Second)):
				if late > firesEvery {
					t.Errorf("%s ran %v late", id, late)
				}
			case min(late, ran.at[id].Sub(started)) > 10*time.Second:
				t.Errorf("%s, due %v after the broker started, ran %v after that", id, at.Sub(started), ran.at[id].Sub(started))
			}
		}
		s.checkEnded(lives...)
	})
}

// A time that has come is no wait, and one beyond what the broker can count is refused.
func TestTimesThatAreNoWait(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		for i, e := range []Enqueue{{Delay: -time.Hour}, {RunAt: time.Now()}, {RunAt: time.Now().Add(-time.Hour)}, {RunAt: time.Unix(0, 0)}} {
			now := enqueueOf(s.record(fmt.Sprintf("j%d", i)), true, 0)
			now.Delay, now.RunAt = e.Delay, e.RunAt
			if err := s.store.Enqueue(s.ctx, now); err != nil {
				t.Errorf("%v, %v: %v", e.Delay, e.RunAt, err)
			}
		}
		for _, m := range s.waiting() {
			if !strings.Contains(m.Subject, ".ready.") || m.Header.Get(job.HeaderDue) != "" {
				t.Errorf("%s waits: %v", m.Subject, m.Header)
			}
		}
		far := s.delayed("far", 0)
		far.RunAt = time.Now().AddDate(maxYearsAhead, 0, 1)
		for _, err := range append(s.store.EnqueueMany(s.ctx, []Enqueue{far}), s.store.Enqueue(s.ctx, far)) {
			if i, ok := errors.AsType[*job.InvalidError](err); !ok || i.Rule != "at most 10 years ahead" {
				t.Errorf("11 years ahead: %v", err)
			}
		}
		far.RunAt = time.Now().AddDate(maxYearsAhead, 0, 0)
		if err := s.store.Enqueue(s.ctx, far); err != nil {
			t.Errorf("10 years ahead: %v", err)
		}
	})
}

// A job that waits holds its id, as any other does, and its retry within the dedup window is no
// duplicate.
func TestAWaitingJobHoldsItsID(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueueLater("a", 2*time.Second)
		err := s.store.Enqueue(s.ctx, s.delayed("a", time.Hour))
		if d, ok := errors.AsType[*DuplicateError](err); !ok || d.Life != r.Life || !d.Until.IsZero() {
			t.Errorf("second job: %v", err)
		}
		if err := s.store.Enqueue(s.ctx, enqueueOf(s.record("a"), true, 0)); err == nil {
			t.Error("a job that does not wait took the id")
		}
		n := s.node("n")
		h := n.pull()
		if h.Life != r.Life || !h.Due.Equal(r.Due) || !h.EnqueuedAt.Equal(r.EnqueuedAt) {
			t.Errorf("fired as %+v", h.Record)
		}
		if err := n.settle(h, Outcome{Kind: job.EventRetrying, Error: "boom", Delay: time.Second}); err != nil {
			t.Fatal(err)
		}
		if err := n.settle(n.pull(), succeed(nil)); err != nil {
			t.Fatal(err)
		}
		s.sleep(time.Millisecond) // acks are not confirmed
		s.checkEnded(r.Life)
	})
}

// An answer that is lost makes no second job of a delayed one.
func TestADelayedEnqueueWhoseAnswerIsLost(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		l := s.server.Link()
		store := s.open(l.Connect(t), Config{})
		cut := false
		l.Watch(func(subject string) natstest.Fate {
			if cut || !strings.Contains(subject, ".later.") {
				return natstest.Pass
			}
			cut = true
			return natstest.CutAfter
		})
		e := s.delayed("a", time.Minute)
		e.Once = false
		if err := store.Enqueue(s.ctx, e); err != nil {
			t.Fatal(err)
		}
		var ran startTimes
		s.station("n", 1, ran.run)
		s.sleep(2 * time.Minute)
		s.checkEnded(e.Record.Life)
		if got := s.kinds(e.Record.Life); got != "succeeded" {
			t.Errorf("events %s", got)
		}
	})
}

// A delayed job expires by its due time; one that started once does not, and that an id had an
// earlier life is no start.
func TestWhatExpires(t *testing.T) {
	for name, tt := range map[string]struct {
		delay   time.Duration
		earlier bool          // the id had a life before
		first   Outcome       // of a first run; none if it has no kind
		blocked time.Duration // before it is pulled
		want    string
	}{
		"in time":                  {blocked: 50 * time.Second, want: "succeeded"},
		"late":                     {blocked: 70 * time.Second, want: "dead"},
		"delayed, in time":         {delay: time.Hour, blocked: time.Hour + 50*time.Second, want: "succeeded"},
		"delayed, late":            {delay: time.Hour, blocked: time.Hour + 70*time.Second, want: "dead"},
		"of an id that had a life": {earlier: true, blocked: 70 * time.Second, want: "dead"},
		"snoozed":                  {first: Outcome{Kind: job.EventSnoozed, Delay: time.Hour}, blocked: 2 * time.Hour, want: "snoozed succeeded"},
		"retried":                  {first: Outcome{Kind: job.EventRetrying, Error: "boom", Delay: time.Hour}, blocked: 2 * time.Hour, want: "retrying succeeded"},
		"handed back by a drain":   {first: Outcome{Kind: job.EventHandedBack}, blocked: 2 * time.Hour, want: "handed_back succeeded"},
		"handed back unstarted":    {first: Outcome{}, blocked: 70 * time.Second, want: "dead"},
		"handed back unstarted, of an id that had a life": {earlier: true, first: Outcome{}, blocked: 70 * time.Second, want: "dead"},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				n := s.node("first")
				if tt.earlier {
					s.enqueue("a")
					if err := n.settle(n.pull(), succeed(nil)); err != nil {
						t.Fatal(err)
					}
					s.sleep(time.Millisecond) // acks are not confirmed
				}
				e := s.delayed("a", tt.delay)
				e.Record.Expires = time.Minute
				if err := s.store.Enqueue(s.ctx, e); err != nil {
					t.Fatal(err)
				}
				if tt.first.Kind != "" || strings.HasPrefix(name, "handed back") {
					h := n.pull()
					if last, err := s.store.LastEvent(s.ctx, testPlace("a")); err == nil {
						h.lastEvent = last.Sequence
					}
					if err := n.settle(h, tt.first); err != nil {
						t.Fatal(err)
					}
				}
				s.sleep(tt.blocked)
				s.station("second", 1, succeed)
				s.sleep(time.Second)
				if got := s.kinds(e.Record.Life); got != tt.want {
					t.Errorf("events %s, want %s", got, tt.want)
				}
			})
		})
	}
}
