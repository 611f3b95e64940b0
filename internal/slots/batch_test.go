package slots

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
)

// A shift is one type whose jobs run together and one whose jobs do not, in the same slots.
type shift struct {
	t           rapid.TB
	slots       *Slots
	concurrency int
	size        int
	many, one   *line
	hungry      <-chan struct{}
}

// line is a source with what became of its jobs.
type line struct {
	*Source
	coming  int // asked for and not come
	waiting []*Ticket
	running [][]*Ticket
	stuck   []*Ticket
}

func newShift(t rapid.TB, concurrency, size int) *shift {
	s := &shift{t: t, slots: New(concurrency, ByWeight), concurrency: concurrency, size: size}
	s.many, s.one = &line{Source: s.slots.Source(1, "q", "many")}, &line{Source: s.slots.Source(1, "q", "one")}
	s.hungry = s.many.Batch(size)
	for _, l := range []*line{s.many, s.one} {
		l.Open(func(n int) { l.coming += n })
	}
	return s
}

func (s *shift) deliver(l *line, n int, backlog uint64) {
	l.Sending()
	l.coming -= n
	fresh := make([]*Ticket, n)
	for i := range fresh {
		fresh[i] = new(Ticket)
		fresh[i].Issue(l.Source, new(job.Record), 0, nil)
	}
	l.waiting = append(l.waiting, fresh...)
	l.Delivered(slices.Values(fresh), backlog)
}

// none has nothing come of what was asked for.
func (s *shift) none(l *line) {
	if l.coming > 0 {
		l.Sending()
		n := l.coming
		l.coming = 0
		l.Returned(n)
	}
}

func (s *shift) start(l *line, n int) {
	jobs := slices.Clone(l.waiting[:n])
	l.waiting = l.waiting[n:]
	if l == s.one {
		if err := jobs[0].Start(context.Background()); err != nil {
			s.t.Fatal(err)
		}
	} else if started, err := StartTogether(context.Background(), jobs); err != nil || slices.Contains(started, false) {
		s.t.Fatal(started, err)
	}
	l.running = append(l.running, jobs)
}

func (s *shift) calls() int { return len(s.many.running) + len(s.one.running) }

func (s *shift) check() {
	s.slots.mu.Lock()
	running, taken := s.slots.demand.running, s.slots.demand.occupied()
	s.slots.mu.Unlock()
	if running != s.calls() || running > s.concurrency {
		s.t.Fatalf("%d slots are taken by %d calls, of %d", running, s.calls(), s.concurrency)
	}
	if kept := len(s.many.running) + len(s.many.waiting)/s.size + len(s.one.running) + len(s.one.waiting); taken != kept {
		s.t.Fatalf("%d slots count as taken, want %d", taken, kept)
	}
	inHand := s.many.coming + len(s.many.waiting)
	for _, c := range s.many.running {
		inHand += len(c)
	}
	if most := s.size*(s.concurrency+1) + 1; inHand > most {
		s.t.Fatalf("%d jobs are in hand or asked for, more than %d", inHand, most)
	}
}

// Calls take slots, the jobs of one share theirs, and whatever happens all is given back.
func TestJobsThatRunTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newShift(t, rapid.IntRange(1, 6).Draw(t, "concurrency"), rapid.IntRange(2, 8).Draw(t, "size"))
		pick := func() *line { return rapid.SampledFrom([]*line{s.many, s.one}).Draw(t, "source") }
		backlog := rapid.SampledFrom([]uint64{0, 3, 1000})
		t.Repeat(map[string]func(*rapid.T){
			"deliver": func(t *rapid.T) {
				if l := pick(); l.coming > 0 {
					s.deliver(l, rapid.IntRange(1, l.coming).Draw(t, "jobs"), backlog.Draw(t, "backlog"))
				}
			},
			"none": func(*rapid.T) { s.none(pick()) },
			"start": func(t *rapid.T) {
				l := pick()
				if len(l.waiting) == 0 || s.calls() == s.concurrency {
					return
				}
				n := 1
				if l == s.many {
					n = rapid.IntRange(1, min(s.size, len(l.waiting))).Draw(t, "jobs")
				}
				s.start(l, n)
			},
			"finish": func(t *rapid.T) {
				l := pick()
				if len(l.running) == 0 {
					return
				}
				jobs := l.running[0]
				l.running = l.running[1:]
				abandoned := rapid.Bool().Draw(t, "abandoned")
				if abandoned {
					l.stuck = append(l.stuck, jobs...)
					for _, j := range jobs {
						j.GiveUp()
					}
				}
				if l == s.many && rapid.Bool().Draw(t, "together") {
					FinishTogether(jobs, time.Millisecond)
					return
				}
				for _, j := range jobs {
					j.Finished(time.Millisecond)
				}
			},
			"back": func(*rapid.T) {
				if l := pick(); len(l.stuck) > 0 {
					l.stuck[0].CameBack()
					l.stuck = l.stuck[1:]
				}
			},
			"hand back": func(*rapid.T) {
				if l := pick(); len(l.waiting) > 0 {
					l.waiting[0].Finished(0)
					l.waiting = l.waiting[1:]
				}
			},
			"": func(*rapid.T) { s.check() },
		})
	})
}

// A source whose jobs wait for more asks for what a slot can take, and one that is shut says so.
func TestHunger(t *testing.T) {
	s := newShift(t, 2, 10)
	quota := s.slots.Limiter(Key{Kind: OfType, Name: "many"}, 0)
	quota.Allow(5, time.Now().Add(time.Hour))
	s.none(s.many) // it was asked for without a permit
	for s.many.coming > 0 && s.many.inHand < 5 {
		s.deliver(s.many, s.many.coming, 100)
	}
	if n, hungry := s.many.Hungry(); n != 5 || !hungry {
		t.Errorf("%d wait under a quota of 5, hungry %v", n, hungry)
	}
	select {
	case <-s.hungry:
	default:
		t.Error("nobody was told")
	}
	quota.Allow(50, time.Now().Add(time.Hour))
	if _, hungry := s.many.Hungry(); hungry || s.many.coming != 15 {
		t.Errorf("hungry with permits: %d are asked for, want what two slots take", s.many.coming)
	}
	s.deliver(s.many, 15, 0)
	s.slots.Pause("q", "many", true)
	if _, hungry := s.many.Hungry(); !hungry {
		t.Error("they wait while their queue is paused")
	}
	if _, err := StartTogether(t.Context(), s.many.waiting); !errors.Is(err, ErrNoPermit) {
		t.Errorf("start in a paused queue: %v", err)
	}
	s.slots.Pause("q", "many", false)
	s.slots.Close()
	if _, hungry := s.many.Hungry(); !hungry {
		t.Error("they wait though no more are asked for")
	}
	if started, err := StartTogether(t.Context(), s.many.waiting[:10]); err != nil || slices.Contains(started, false) {
		t.Errorf("start of what was in hand at the close: %v, %v", started, err)
	}
}
