package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// sluice is a gate whose inlets are asked by nobody but the test.
type sluice struct {
	*Gate
	t     *testing.T
	asked map[*Inlet]int // and neither delivered nor returned
}

func newSluice(t *testing.T, concurrency int) *sluice {
	t.Helper()
	return &sluice{Gate: NewGate(concurrency), t: t, asked: make(map[*Inlet]int)}
}

func (s *sluice) inlet(queue, typ string) *Inlet { return s.Inlet(1, queue, typ) }

func (s *sluice) open(inlets ...*Inlet) {
	for _, i := range inlets {
		i.Open(func(n int) { s.asked[i] += n })
	}
}

// deliver brings n jobs of what was asked for.
func (s *sluice) deliver(i *Inlet, n int, backlog uint64) (jobs []*Delivery) {
	s.t.Helper()
	if n > s.asked[i] {
		s.t.Fatalf("%d jobs come of %d asked for", n, s.asked[i])
	}
	s.asked[i] -= n
	for range n {
		jobs = append(jobs, &Delivery{Record: job.Record{Type: i.typ, Queue: i.queue}, inlet: i, lease: newLease(time.Hour, time.Now())})
	}
	i.Delivered(jobs, backlog)
	return jobs
}

func (s *sluice) empty(i *Inlet) {
	n := s.asked[i]
	s.asked[i] = 0
	i.Returned(n)
}

func TestWhatIsAskedForGrowsUntilItIsSent(t *testing.T) {
	g := newSluice(t, 4)
	email := g.inlet("a", "email")
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

func TestPoolsAreOfTypesKeysAndQueues(t *testing.T) {
	until := time.Now().Add(time.Hour)
	for name, tt := range map[string]struct {
		key  PoolKey
		want [3]bool // whether there are permits for email in a, email in b, import in a
	}{
		"type":        {PoolKey{Kind: TypePool, Name: "email"}, [3]bool{false, false, true}},
		"queue":       {PoolKey{Kind: QueuePool, Name: "a"}, [3]bool{false, true, false}},
		"key":         {PoolKey{Kind: KeyPool, Name: "crm"}, [3]bool{true, true, false}},
		"rate":        {PoolKey{Kind: TypePool, Name: "import", Rate: true}, [3]bool{true, true, false}},
		"nobody's":    {PoolKey{Kind: TypePool, Name: "other"}, [3]bool{true, true, true}},
		"no key's":    {PoolKey{Kind: KeyPool}, [3]bool{true, true, true}},
		"unknown one": {PoolKey{Kind: "moon"}, [3]bool{true, true, true}},
	} {
		for _, early := range []bool{true, false} { // before the inlets, or after
			g := newSluice(t, 6)
			g.SetKey("import", "crm")
			if early {
				g.Pool(tt.key).Allow(0, until)
			}
			inlets := [3]*Inlet{g.inlet("a", "email"), g.inlet("b", "email"), g.inlet("a", "import")}
			g.SetKey("import", "crm")
			if !early {
				g.Pool(tt.key).Allow(0, until)
			}
			g.open(inlets[:]...)
			for i, want := range tt.want {
				if got := g.asked[inlets[i]] > 0; got != want {
					t.Errorf("%s: %s in %s is asked: %t, want %t", name, inlets[i].typ, inlets[i].queue, got, want)
				}
			}
		}
	}
}

func TestTypeChangesItsKey(t *testing.T) {
	g := newSluice(t, 4)
	i := g.inlet("q", "t")
	until := time.Now().Add(time.Hour)
	g.Pool(PoolKey{Kind: KeyPool, Name: "full"}).Allow(0, until)
	g.Pool(PoolKey{Kind: KeyPool, Name: "roomy"}).Allow(2, until)
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
	if used, _, _ := g.Pool(PoolKey{Kind: KeyPool, Name: "roomy"}).Use(); used != 3 || g.asked[i] != 0 {
		t.Errorf("%d permits used, and %d asked for, with 3 in hand", used, g.asked[i])
	}
	g.SetKey("t", "")
	if g.asked[i] != 1 {
		t.Errorf("asked for %d without a limit, want the free slot", g.asked[i])
	}
}

func TestPauseOfAQueue(t *testing.T) {
	g := newSluice(t, 4)
	g.Pause("later")
	paused, other, later := g.inlet("q", "t"), g.inlet("other", "t"), g.inlet("later", "t")
	g.open(paused, other, later)
	if g.asked[later] != 0 || g.asked[paused] == 0 {
		t.Fatalf("asked for %v", g.asked)
	}
	running := g.deliver(paused, 1, 10)[0]
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	waiting := g.deliver(paused, 1, 10)[0]
	g.Pause("q")
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
	g.Resume("q")
	g.empty(other)
	if g.asked[paused] == 0 {
		t.Error("not asked after the pause")
	}
}

// A handler that was given up gives its permit back when it returns, whenever that is.
func TestGivenUpHandlerReturns(t *testing.T) {
	until := time.Now().Add(time.Hour)
	for name, end := range map[string]func(h *Delivery){
		"after its slot":  func(h *Delivery) { h.GiveUp(); h.Finished(); h.CameBack() },
		"before its slot": func(h *Delivery) { h.GiveUp(); h.CameBack(); h.Finished() },
		"in time":         func(h *Delivery) { h.Finished() },
	} {
		g := newSluice(t, 4)
		i := g.inlet("q", "t")
		p := g.Pool(PoolKey{Kind: TypePool, Name: "t"})
		p.Allow(1, until)
		g.open(i)
		h := g.deliver(i, 1, 0)[0]
		if err := h.Start(); err != nil {
			t.Fatal(err)
		}
		end(h)
		g.empty(i)
		if used, _, _ := p.Use(); used != g.asked[i] || i.jobs.first != nil {
			t.Errorf("%s: %d permits used, %d asked for", name, used, g.asked[i])
		}
	}
}

// What was used of a rate is used again as it ages, with nothing else happening.
func TestRateWakesTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSluice(t, 10)
		i := g.inlet("q", "t")
		p := g.Pool(PoolKey{Kind: TypePool, Name: "t", Rate: true})
		p.Per(time.Minute)
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
	g := newSluice(t, 4)
	g.OnOverrun(time.Second, nil)
	i := g.inlet("q", "t")
	p := g.Pool(PoolKey{Kind: TypePool, Name: "t"})
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
	for name, looks := range map[string][]struct {
		after            time.Duration
		revoked, overran int
	}{
		"before it was told": {{59 * time.Second, 0, 0}, {73 * time.Second, 1, 0}, {73250 * time.Millisecond, 0, 0}, {73750 * time.Millisecond, 0, 0}, {74 * time.Second, 0, 1}},
		"after that":         {{60 * time.Second, 1, 0}, {74 * time.Second, 0, 0}, {74200 * time.Millisecond, 0, 0}, {74300 * time.Millisecond, 0, 1}},
		"and again":          {{60 * time.Second, 1, 0}, {60100 * time.Millisecond, 0, 0}, {90 * time.Second, 0, 0}, {91 * time.Second, 0, 1}},
	} {
		g := newSluice(t, 1)
		g.OnOverrun(time.Second, nil)
		i := g.inlet("q", "t")
		start := time.Now()
		g.Pool(PoolKey{Kind: TypePool, Name: "t"}).Allow(1, start.Add(time.Minute))
		g.open(i)
		if err := g.deliver(i, 1, 0)[0].Start(); err != nil {
			t.Fatal(err)
		}
		for _, look := range looks {
			revoked, overran, _ := g.sweep(start.Add(look.after))
			if len(revoked) != look.revoked || len(overran) != look.overran {
				t.Errorf("%s: after %v told %d, reported %d; want %d and %d", name, look.after, len(revoked), len(overran), look.revoked, look.overran)
			}
		}
	}
}

// What comes after a pause began goes back, with nothing counted, and runs after it.
func TestPullerHandsBackWhatComesInAPause(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("n", 2, succeed)
		s.sleep(100 * time.Millisecond) // its request stands
		st.gate.Pause(testQueue)
		r := s.enqueue("a")
		s.sleep(time.Minute)
		if got := len(st.runs()); got != 0 {
			t.Errorf("%d runs in the pause", got)
		}
		m, err := s.store.Find(s.ctx, testPlace("a"))
		if err != nil || m.Attempt != 1 || m.Crashes != 0 {
			t.Errorf("the job is %+v, %v", m, err)
		}
		if got := st.gate.Rebuilt(); got != 0 {
			t.Errorf("the subscription was made anew %d times: nobody listened", got)
		}
		st.gate.Resume(testQueue)
		s.sleep(time.Second)
		s.checkEnded(r.Life)
	})
}

// The permits are gone while a request stands: what it brings goes to others.
func TestPullerHandsBackWhatHasNoPermit(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st := s.station("n", 2, succeed)
		p := st.gate.Pool(PoolKey{Kind: TypePool, Name: testType})
		s.sleep(2 * time.Second)
		p.Allow(2, time.Now().Add(1500*time.Millisecond))
		s.sleep(1400 * time.Millisecond)
		p.Lose()
		r := s.enqueue("a")
		s.sleep(time.Minute)
		if got := len(st.runs()); got != 0 {
			t.Errorf("%d runs without a permit", got)
		}
		other := s.station("other", 1, succeed)
		s.sleep(time.Second)
		s.checkEnded(r.Life)
		if got := len(other.runs()); got != 1 {
			t.Errorf("%d runs at the other", got)
		}
	})
}

// Starts of a rate, as a broker and a puller make them.
func TestPullerKeepsToARate(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		for i := range 40 {
			s.enqueue(string(rune('a'+i/26)) + string(rune('a'+i%26)))
		}
		st := s.stationAt(s.nodeOf("n", 8), succeed, func(g *Gate) {
			p := g.Pool(PoolKey{Kind: QueuePool, Name: testQueue, Rate: true})
			p.Per(time.Minute)
			p.Allow(10, time.Now().Add(time.Hour))
		})
		s.sleep(4*time.Minute - time.Second)
		runs := st.runs()
		if len(runs) != 40 {
			t.Fatalf("%d runs in 4 minutes at 10 a minute", len(runs))
		}
		for i, h := range runs[10:] {
			if d := h.StartedAt().Sub(runs[i].StartedAt()); d < time.Minute {
				t.Errorf("11 starts within %v", d)
			}
		}
	})
}

// BenchmarkGate is what a job costs at the gate: its part of a pull, its start and its end.
// A limit costs a job a time of day and a count, whatever the number of permits.
func BenchmarkGate(b *testing.B) {
	for name, limit := range map[string]func(g *Gate){
		"free":  func(*Gate) {},
		"quota": func(g *Gate) { g.Pool(PoolKey{Kind: TypePool, Name: "t"}).Allow(100, time.Now().Add(time.Hour)) },
		"rate": func(g *Gate) {
			p := g.Pool(PoolKey{Kind: TypePool, Name: "t", Rate: true})
			p.Per(time.Microsecond)
			p.Allow(1000, time.Now().Add(time.Hour))
		},
	} {
		b.Run(name, func(b *testing.B) {
			g := NewGate(100)
			i := g.Inlet(1, "q", "t")
			limit(g)
			asked := 0
			i.Open(func(n int) { asked += n })
			jobs := make([]*Delivery, 0, maxBatch)
			b.ReportAllocs()
			for n := 0; n < b.N; n += len(jobs) {
				jobs = jobs[:0]
				for range max(asked, 1) {
					jobs = append(jobs, &Delivery{inlet: i, lease: newLease(time.Hour, time.Now())})
				}
				asked = 0
				i.Delivered(jobs, 1<<40)
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
