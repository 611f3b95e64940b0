package slots

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// scene is slots whose sources are asked by nobody but the test.
type scene struct {
	*Slots
	t     *testing.T
	asked map[*Source]int // and neither delivered nor returned
}

func newScene(t *testing.T, concurrency int) *scene {
	t.Helper()
	return &scene{Slots: New(concurrency, ByWeight), t: t, asked: make(map[*Source]int)}
}

func (s *scene) source(queue, typ string) *Source { return s.Source(1, queue, typ) }

func (s *scene) open(sources ...*Source) {
	for _, source := range sources {
		source.Open(func(n int) { s.asked[source] += n })
	}
}

// held is a job in hand.
type held struct {
	Ticket
	record    job.Record
	startedAt time.Time
	revoked   int // how often it was told that it lost a permit
}

// Revoke implements [Revoker].
func (h *held) Revoke() { h.revoked++ }

func newHeld(s *Source) *held {
	h := &held{record: job.Record{Queue: s.queue, Type: s.typ}}
	h.Issue(s, &h.record, 0, h)
	return h
}

func (h *held) Start() error {
	h.startedAt = time.Now()
	return h.Ticket.Start(context.Background())
}

func (h *held) Finished() {
	var ran time.Duration
	if h.phase != waiting {
		ran = max(time.Since(h.startedAt), 1)
	}
	h.Ticket.Finished(ran)
}

// come has jobs of a source delivered.
func come(s *Source, jobs []*held, backlog uint64) {
	s.Delivered(func(yield func(*Ticket) bool) {
		for _, h := range jobs {
			if !yield(&h.Ticket) {
				return
			}
		}
	}, backlog)
}

// deliver brings n jobs of what was asked for.
func (s *scene) deliver(source *Source, n int, backlog uint64) (jobs []*held) {
	s.t.Helper()
	if n > s.asked[source] {
		s.t.Fatalf("%d jobs come of %d asked for", n, s.asked[source])
	}
	s.asked[source] -= n
	for range n {
		jobs = append(jobs, newHeld(source))
	}
	come(source, jobs, backlog)
	return jobs
}

func (s *scene) empty(i *Source) {
	n := s.asked[i]
	s.asked[i] = 0
	i.Returned(n)
}

func TestWhatIsAskedForGrowsUntilItIsSent(t *testing.T) {
	g := newScene(t, 4)
	email := g.source("a", "email")
	g.open(email)
	jobs := g.deliver(email, 4, 100)
	end := func(want int) {
		t.Helper()
		jobs[0].Finished()
		jobs = jobs[1:]
		if got := g.asked[email]; got != want {
			t.Fatalf("%d jobs are asked for, want %d", got, want)
		}
	}
	end(1)
	end(2)
	if standing, _, _ := email.Sending(); standing {
		t.Fatal("what is asked for stands though jobs wait")
	}
	end(2) // one pull is in flight
	jobs = append(jobs, g.deliver(email, 1, 99)...)
	if got := g.asked[email]; got != 1 {
		t.Fatalf("%d jobs of the pull in flight are to come, want 1", got)
	}
	jobs = append(jobs, g.deliver(email, 1, 98)...)
	if got := g.asked[email]; got != 1 {
		t.Fatalf("%d jobs are asked for once the pull is over, want 1", got)
	}
	end(2)
}

func TestLimitsAreOfTypesKeysAndQueues(t *testing.T) {
	until := time.Now().Add(time.Hour)
	for name, tt := range map[string]struct {
		key  Key
		want [3]bool // whether there are permits for email in a, email in b, import in a
	}{
		"type":        {Key{Kind: OfType, Name: "email"}, [3]bool{false, false, true}},
		"queue":       {Key{Kind: OfQueue, Name: "a"}, [3]bool{false, true, false}},
		"key":         {Key{Kind: OfKey, Name: "crm"}, [3]bool{true, true, false}},
		"rate":        {Key{Kind: OfType, Name: "import", Rate: true}, [3]bool{true, true, false}},
		"nobody's":    {Key{Kind: OfType, Name: "other"}, [3]bool{true, true, true}},
		"no key's":    {Key{Kind: OfKey}, [3]bool{true, true, true}},
		"unknown one": {Key{Kind: "moon"}, [3]bool{true, true, true}},
	} {
		for _, early := range []bool{true, false} { // before the sources, or after
			g := newScene(t, 6)
			g.SetKey("import", "crm")
			if early {
				g.limit(tt.key).Allow(0, until)
			}
			sources := [3]*Source{g.source("a", "email"), g.source("b", "email"), g.source("a", "import")}
			g.SetKey("import", "crm")
			if !early {
				g.limit(tt.key).Allow(0, until)
			}
			g.open(sources[:]...)
			for i, want := range tt.want {
				if got := g.asked[sources[i]] > 0; got != want {
					t.Errorf("%s: %s in %s is asked: %t, want %t", name, sources[i].typ, sources[i].queue, got, want)
				}
			}
		}
	}
}

func TestTypeChangesItsKey(t *testing.T) {
	g := newScene(t, 4)
	i := g.source("q", "t")
	until := time.Now().Add(time.Hour)
	g.limit(Key{Kind: OfKey, Name: "full"}).Allow(0, until)
	g.limit(Key{Kind: OfKey, Name: "roomy"}).Allow(2, until)
	g.open(i)
	h := g.deliver(i, 4, 100)[0]
	g.SetKey("t", "full")
	if err := h.Start(); err == nil {
		t.Error("a job that came without a permit started under a limit")
	}
	h.Finished()
	if g.asked[i] != 0 {
		t.Errorf("asked for %d with no permit", g.asked[i])
	}
	g.SetKey("t", "roomy")
	if used, _, _ := g.limit(Key{Kind: OfKey, Name: "roomy"}).Use(); used != 3 || g.asked[i] != 0 {
		t.Errorf("%d permits used, and %d asked for, with 3 in hand", used, g.asked[i])
	}
	g.SetKey("t", "")
	if g.asked[i] != 1 {
		t.Errorf("asked for %d without a limit, want the free slot", g.asked[i])
	}
}

func TestPauseOfAQueue(t *testing.T) {
	g := newScene(t, 4)
	g.Pause("later", "", true)
	paused, other, later := g.source("q", "t"), g.source("other", "t"), g.source("later", "t")
	g.open(paused, other, later)
	if g.asked[later] != 0 || g.asked[paused] == 0 {
		t.Fatalf("asked for %v", g.asked)
	}
	running := g.deliver(paused, 1, 10)[0]
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	waiting := g.deliver(paused, 1, 10)[0]
	g.Pause("q", "", true)
	if paused.Admits() || !other.Admits() {
		t.Error("what comes is admitted of the paused queue, or not of the other")
	}
	if err := waiting.Start(); err == nil {
		t.Error("a job started in a paused queue")
	}
	waiting.Finished()
	running.Finished()
	g.empty(paused)
	if g.asked[paused] != 0 {
		t.Errorf("asked for %d in a paused queue", g.asked[paused])
	}
	g.Pause("q", "", false)
	g.empty(other)
	if g.asked[paused] == 0 {
		t.Error("not asked after the pause")
	}
}

// What is suspended takes nothing, and then goes on but for what is paused.
func TestSuspend(t *testing.T) {
	g := newScene(t, 4)
	a, b := g.source("q", "a"), g.source("q", "b")
	g.open(a, b)
	g.Pause("q", "b", true)
	g.Suspend(true)
	if a.Admits() || b.Admits() || !g.Suspended() {
		t.Error("something is admitted")
	}
	g.Suspend(false)
	if !a.Admits() || b.Admits() || g.Suspended() {
		t.Error("it does not go on as it was")
	}
}

// A type of a queue is paused beside the queue: it goes on when neither is.
func TestPauseOfAType(t *testing.T) {
	g := newScene(t, 4)
	g.Pause("q", "later", true)
	paused, other, later := g.source("q", "t"), g.source("q", "other"), g.source("q", "later")
	elsewhere := g.source("r", "t")
	g.open(paused, other, later, elsewhere)
	if g.asked[later] != 0 || g.asked[paused] == 0 {
		t.Fatalf("asked for %v", g.asked)
	}
	g.Pause("q", "t", true)
	if paused.Admits() || !other.Admits() || !elsewhere.Admits() {
		t.Error("what comes is admitted of the paused type, or not of the others")
	}
	g.Pause("q", "", true)
	g.Pause("q", "t", false)
	if paused.Admits() || other.Admits() || !elsewhere.Admits() {
		t.Error("the queue is paused, and the type alone was resumed")
	}
	g.Pause("q", "", false)
	if !paused.Admits() || !other.Admits() || later.Admits() {
		t.Error("one that is paused by itself goes on, or the others do not")
	}
}

// A handler that was given up gives its permit back when it returns, whenever that is.
func TestGivenUpHandlerReturns(t *testing.T) {
	until := time.Now().Add(time.Hour)
	for name, end := range map[string]func(h *held){
		"after its slot":    func(h *held) { h.GiveUp(); h.Finished(); h.CameBack() },
		"before its slot":   func(h *held) { h.GiveUp(); h.CameBack(); h.Finished() },
		"before it is said": func(h *held) { h.CameBack(); h.GiveUp(); h.Finished() },
		"in time":           func(h *held) { h.Finished() },
	} {
		g := newScene(t, 4)
		i := g.source("q", "t")
		p := g.limit(Key{Kind: OfType, Name: "t"})
		p.Allow(1, until)
		g.open(i)
		h := g.deliver(i, 1, 0)[0]
		if err := h.Start(); err != nil {
			t.Fatal(err)
		}
		end(h)
		g.empty(i)
		if used, _, _ := p.Use(); used != g.asked[i] || i.tickets.first != nil {
			t.Errorf("%s: %d permits used, %d asked for", name, used, g.asked[i])
		}
	}
}

// What was used of a rate is used again as it ages, with nothing else happening.
func TestRateWakesTheSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newScene(t, 10)
		i := g.source("q", "t")
		p := g.limit(Key{Kind: OfType, Name: "t", Rate: true})
		p.starts.period = time.Minute
		p.Allow(3, time.Now().Add(time.Hour))
		g.open(i)
		started := 0
		for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(time.Second) {
			g.mu.Lock() // the alarm asks from elsewhere
			n := g.asked[i]
			g.mu.Unlock()
			if n == 0 {
				continue
			}
			for _, h := range g.deliver(i, n, 1000) {
				if err := h.Start(); err != nil {
					t.Fatal(err)
				}
				started++
				h.Finished()
			}
		}
		if started < 27 || started > 30 {
			t.Errorf("%d starts in 10 minutes at 3 a minute", started)
		}
	})
}

// Who runs on lost permits is told once, and reported if that does not help.
func TestSweep(t *testing.T) {
	g := newScene(t, 4)
	g.OnOverrun(time.Second, nil)
	i := g.source("q", "t")
	p := g.limit(Key{Kind: OfType, Name: "t"})
	start := time.Now()
	p.Allow(4, start.Add(time.Minute))
	g.open(i)
	first := g.deliver(i, 1, 3)[0]
	jobs := append(g.deliver(i, 3, 0), first)
	for _, h := range jobs[1:] {
		if err := h.Start(); err != nil {
			t.Fatal(err)
		}
	}
	jobs[1].Returned()
	for _, step := range []struct {
		after            time.Duration
		revoked, overran int
	}{{59 * time.Second, 0, 0}, {60 * time.Second, 2, 0}, {60*time.Second + 250*time.Millisecond, 0, 0}, {61 * time.Second, 0, 2}, {62 * time.Second, 0, 0}} {
		revoked, overran, again := g.sweep(start.Add(step.after))
		if len(revoked) != step.revoked || len(overran) != step.overran || !again {
			t.Errorf("after %v: told %d, reported %d, again %t; want %d and %d", step.after, len(revoked), len(overran), again, step.revoked, step.overran)
		}
	}
	for _, h := range jobs {
		h.Finished()
	}
	p.Lift()
	if revoked, overran, again := g.sweep(start.Add(time.Hour)); len(revoked) > 0 || len(overran) > 0 || again {
		t.Error("something is left to do")
	}
}

// A process that was frozen, for longer than the grace and be it after its handlers were told,
// does not take the time that it could not act for theirs.
func TestSweepAfterAFreeze(t *testing.T) {
	for name, sweeps := range map[string][]struct {
		after            time.Duration
		revoked, overran int
	}{
		"before it was told": {{59 * time.Second, 0, 0}, {73 * time.Second, 1, 0}, {73250 * time.Millisecond, 0, 0}, {73750 * time.Millisecond, 0, 0}, {74 * time.Second, 0, 1}},
		"after that":         {{60 * time.Second, 1, 0}, {74 * time.Second, 0, 0}, {74200 * time.Millisecond, 0, 0}, {74300 * time.Millisecond, 0, 1}},
		"and again":          {{60 * time.Second, 1, 0}, {60100 * time.Millisecond, 0, 0}, {90 * time.Second, 0, 0}, {91 * time.Second, 0, 1}},
	} {
		g := newScene(t, 1)
		g.OnOverrun(time.Second, nil)
		i := g.source("q", "t")
		start := time.Now()
		g.limit(Key{Kind: OfType, Name: "t"}).Allow(1, start.Add(time.Minute))
		g.open(i)
		if err := g.deliver(i, 1, 0)[0].Start(); err != nil {
			t.Fatal(err)
		}
		for _, at := range sweeps {
			revoked, overran, _ := g.sweep(start.Add(at.after))
			if len(revoked) != at.revoked || len(overran) != at.overran {
				t.Errorf("%s: after %v told %d, reported %d; want %d and %d", name, at.after, len(revoked), len(overran), at.revoked, at.overran)
			}
		}
	}
}

// BenchmarkSlots is what a job costs at the gate: its part of a pull, its start and its end.
// A limit costs a job a time of day and a count, whatever the number of permits.
func BenchmarkSlots(b *testing.B) {
	for name, limit := range map[string]func(g *Slots){
		"free":  func(*Slots) {},
		"quota": func(g *Slots) { g.limit(Key{Kind: OfType, Name: "t"}).Allow(100, time.Now().Add(time.Hour)) },
		"rate": func(g *Slots) {
			p := g.limit(Key{Kind: OfType, Name: "t", Rate: true})
			p.starts.period = time.Microsecond
			p.Allow(1000, time.Now().Add(time.Hour))
		},
	} {
		b.Run(name, func(b *testing.B) {
			g := New(100, ByWeight)
			i := g.Source(1, "q", "t")
			limit(g)
			asked := 0
			i.Open(func(n int) { asked += n })
			jobs := make([]*held, 0, MaxBatch)
			b.ReportAllocs()
			for n := 0; n < b.N; n += len(jobs) {
				jobs = jobs[:0]
				for range max(asked, 1) {
					jobs = append(jobs, newHeld(i))
				}
				asked = 0
				come(i, jobs, 1<<40)
				for _, h := range jobs {
					if err := h.Start(); err != nil {
						b.Fatal(err)
					}
					h.Finished()
				}
			}
		})
	}
}
