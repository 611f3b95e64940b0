package slots

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/modeltest"
)

const forLong = 24 * time.Hour

// limited is a model whose sources belong to limits.
type limited struct {
	*model
	held map[*limit]int // permits that other nodes leave to this one
	jobs []*limitedJob  // in hand or stuck
}

// limitedJob is a job.
type limitedJob struct {
	source *Source
	stamp  uint64
	phase  phase
}

func newLimited(t rapid.TB, concurrency int, weights ...int) *limited {
	m := &limited{model: newModel(t, concurrency, weights...), held: make(map[*limit]int)}
	m.at = time.Now()
	return m
}

// limit makes one of some sources, without a limit.
func (m *limited) limit(key Key, members ...*Source) *limit {
	p := &limit{key: key}
	p.starts.period = time.Minute
	m.allLimits = append(m.allLimits, p)
	for _, s := range members {
		m.join(s, p)
	}
	return p
}

func (m *limited) allow(p *limit, permits int, d time.Duration) {
	m.held[p] = max(permits, p.used(m.at))
	m.demand.allow(p, permits, m.at.Add(d), m.at)
	m.update()
}

// update asks, and holds each limit to what this node may have.
func (m *limited) update() {
	before := make(map[*limit]int)
	for _, p := range m.limits {
		before[p] = p.used(m.at)
	}
	m.model.update()
	for _, p := range m.limits {
		used := p.used(m.at)
		switch {
		case used <= before[p]:
		case p.over(m.at):
			m.t.Fatalf("%v: asked for %d without permits", p.key, used-before[p])
		case used > p.permits:
			m.t.Fatalf("%v: %d used, of %d permits", p.key, used, p.permits)
		}
		if !p.over(m.at) && used > m.held[p] {
			m.t.Fatalf("%v: %d used, %d held", p.key, used, m.held[p])
		}
	}
}

// deliver brings jobs and starts those that may.
func (m *limited) deliver(s *Source, n int, backlog uint64) {
	for range n {
		m.jobs = append(m.jobs, &limitedJob{source: s, stamp: s.stamp})
	}
	m.left[s] -= n
	m.running[s] += n
	m.given[s] += n
	m.delivered(s, n, backlog)
	m.update()
}

// start starts a job if it may, and hands it back if not.
func (m *limited) start(j *limitedJob) (ok bool) {
	if !j.source.start(j.stamp, m.now) {
		m.end(j, 0)
		return false
	}
	j.phase = running
	m.update()
	return true
}

// end takes a job out of the hand.
func (m *limited) end(j *limitedJob, ran time.Duration) {
	m.jobs = slices.DeleteFunc(m.jobs, func(k *limitedJob) bool { return k == j })
	m.finish(j.source, ran)
}

func (m *limited) finish(s *Source, ran time.Duration) {
	m.running[s]--
	m.gone(s, ran)
	m.update()
}

// none ends a pull with nothing more.
func (m *limited) none(s *Source) {
	if s.greedy {
		s.backlog = 0
	}
	m.returned(s, m.left[s])
	m.left[s] = 0
	m.update()
}

// in returns the jobs that are in a phase.
func (m *limited) in(phase phase) (found []*limitedJob) {
	for _, j := range m.jobs {
		if j.phase == phase {
			found = append(found, j)
		}
	}
	return found
}

func TestSourceIsAskedForTheLeastThatIsFree(t *testing.T) {
	const many = 1 << 40
	m := newLimited(t, 10, 1, 1)
	a, b := m.sources[0], m.sources[1]
	typ := m.limit(Key{Kind: OfType, Name: "a"}, a)
	key := m.limit(Key{Kind: OfKey, Name: "k"}, a, b)
	m.update()
	m.none(a)
	m.none(b)
	a.backlog, b.backlog, a.asked, b.asked = many, many, 0, 0
	m.left[a], m.left[b] = 0, 0
	m.allow(typ, 0, forLong)
	if m.left[a] != 0 || m.left[b] != 10 {
		t.Fatalf("asked for %d and %d, want none of a, whose type has no permit, and all slots for b", m.left[a], m.left[b])
	}
	m.deliver(b, 10, many)
	for _, j := range m.in(waiting) {
		m.start(j)
	}
	m.allow(key, 4, forLong)
	m.allow(typ, 2, forLong)
	for range 6 {
		m.end(m.in(running)[0], time.Second)
		if m.asked() != 0 {
			t.Fatalf("asked for %d while %d run on 4 permits", m.asked(), len(m.in(running)))
		}
	}
	m.end(m.in(running)[0], time.Second)
	if m.asked() != 1 {
		t.Errorf("asked for %d with one permit free", m.asked())
	}
	if a.backlog == 0 {
		t.Error("the backlog of the source that had no permit is forgotten")
	}
}

// No permit, no wish: others have the slots, also those of less weight.
func TestOthersFlowPastAFullQuota(t *testing.T) {
	for _, o := range []Order{ByWeight, Strict} {
		m := newLimited(t, 4)
		m.order = o
		full, other := m.add(6), m.add(1)
		m.opened(full)
		m.opened(other)
		quota := m.limit(Key{Kind: OfType, Name: "full"}, full)
		full.backlog, other.backlog = 1<<40, 1<<40
		m.allow(quota, 1, forLong)
		if m.left[full] != 1 {
			t.Fatalf("order %d: asked for %d of the full type, want 1", o, m.left[full])
		}
		m.deliver(full, 1, 1<<40)
		if m.left[other] != 3 {
			t.Errorf("order %d: asked for %d of the other, want the 3 slots left", o, m.left[other])
		}
		if full.backlog == 0 {
			t.Errorf("order %d: the backlog is forgotten", o)
		}
	}
}

func TestLimitedTypeIsNotAskedForAhead(t *testing.T) {
	m := newLimited(t, 4, 1)
	s := m.sources[0]
	quota := m.limit(Key{Kind: OfType}, s)
	s.runs, s.run, s.backlog = runSamples, time.Millisecond, 1<<40
	m.allow(quota, 100, forLong)
	if m.left[s] != 4 {
		t.Errorf("asked for %d with 4 slots free", m.left[s])
	}
}

// A worker that waits for work has a permit for it, and just enough that it need not give up any.
func TestStandingRequestCoversAPermit(t *testing.T) {
	m := newLimited(t, 4, 1, 1)
	a, b := m.sources[0], m.sources[1]
	m.update()
	m.none(a)
	m.none(b)
	for _, s := range m.pulled() {
		m.none(s)
	}
	key := m.limit(Key{Kind: OfKey}, a, b)
	for _, s := range []*Source{a, b} {
		m.returned(s, m.left[s])
		m.left[s] = 0
	}
	m.allow(key, 1, forLong)
	if m.asked() != 1 {
		t.Fatalf("asked for %d with one permit", m.asked())
	}
	if used := key.used(m.at); used != 1 {
		t.Errorf("%d permits used, want that of the request", used)
	}
	if !a.crowded() {
		t.Error("one waits for the other's request, which does not know")
	}
	stood := m.pulled()[0]
	m.none(stood)
	if next := m.pulled(); len(next) != 1 || next[0] == stood {
		t.Error("the other does not get its turn")
	}
	if want := m.want(key, m.at); want != 4 {
		t.Errorf("want = %d, want one for each slot", want)
	}
}

// A worker that is full with other jobs wants a permit to hear of jobs that need one, and
// with these waiting as many as its share of the slots: else they would never run.
func TestFullWorkerWantsItsShareOfPermits(t *testing.T) {
	m := newLimited(t, 12, 2, 1)
	a, b := m.sources[0], m.sources[1]
	quota := m.limit(Key{Kind: OfType}, b)
	m.demand.allow(quota, 0, m.at.Add(forLong), m.at)
	m.update()
	for m.freeSlots() > 0 {
		m.deliver(a, m.left[a], 100)
	}
	if want := m.want(quota, m.at); want != 1 {
		t.Errorf("want = %d before any job was heard of, want 1", want)
	}
	b.backlog = 100
	if want := m.want(quota, m.at); want != 4 {
		t.Errorf("want = %d with a third of the weight, want 4 of 12", want)
	}
}

// What a node wants: as much as it could use, which is little while nothing comes.
func TestWant(t *testing.T) {
	m := newLimited(t, 10, 1, 1)
	s, other := m.sources[0], m.sources[1]
	p := m.limit(Key{Kind: OfType}, s)
	want := func(when string, n int) {
		t.Helper()
		if got := m.want(p, m.at); got != n {
			t.Errorf("%s: want = %d, not %d", when, got, n)
		}
	}
	m.demand.allow(p, 0, m.at.Add(forLong), m.at)
	m.update()
	want("without a permit, nothing heard", 10)
	m.allow(p, 5, forLong)
	want("its request stands, the other's too", 1+1)
	m.deliver(s, 1, 100)
	want("jobs wait, and are asked for", 10)
	m.deliver(s, 4, 96)
	want("all permits are in use", 10)
	m.deliver(other, 1, 100)
	m.deliver(other, m.left[other], 100)
	want("the other has the rest of the slots", 5)
	s.paused = true
	want("paused", 5)
	s.paused, m.stopped = false, true
	want("draining", 5)
}

// With work for one type of a key, the others do not sit on its permits; but they are heard.
func TestIdleTypeLeavesPermitsToOthers(t *testing.T) {
	m := newLimited(t, 10, 1, 1)
	busy, idle := m.sources[0], m.sources[1]
	key := m.limit(Key{Kind: OfKey}, busy, idle)
	m.allow(key, 2, forLong)
	asked, runs, unused := 0, 0, 0
	for range 2000 { // jobs of 50 ms, two at once
		for _, s := range m.pulled() {
			if s == idle {
				asked++
				m.none(s)
			} else {
				m.deliver(s, m.left[s], 1<<40)
			}
		}
		for _, s := range m.pulled() {
			if s == busy {
				m.deliver(s, m.left[s], 1<<40)
			}
		}
		for _, j := range m.in(waiting) {
			m.start(j)
		}
		unused += 2 - len(m.in(running))
		m.at = m.at.Add(25 * time.Millisecond)
		runs++
		m.end(m.in(running)[0], 50*time.Millisecond)
	}
	if unused > 40 {
		t.Errorf("of 2 permits %d of %d were idle while jobs waited", unused, 2*runs)
	}
	if asked < 40 || asked > 60 {
		t.Errorf("the idle type was asked %d times in 50 s, want once a second", asked)
	}
}

func TestPermitsGoBackAsTheyFallFree(t *testing.T) {
	m := newLimited(t, 10, 1)
	s := m.sources[0]
	quota := m.limit(Key{Kind: OfType}, s)
	s.backlog = 1 << 40
	m.allow(quota, 5, forLong)
	m.deliver(s, 5, 1<<40)
	for _, j := range m.in(waiting) {
		m.start(j)
	}
	m.allow(quota, 2, forLong)
	for left := 4; left >= 2; left-- {
		m.end(m.in(running)[0], time.Second)
		if m.asked() > 0 {
			t.Fatalf("a permit that is to be given up was covered again, %d run", left)
		}
	}
	m.end(m.in(running)[0], time.Second)
	if m.asked() != 1 {
		t.Errorf("asked for %d, want the one that is free of 2", m.asked())
	}
	m.allow(quota, 4, forLong)
	m.deliver(s, 1, 1<<40)
	if m.asked() != 2 {
		t.Errorf("asked for %d, want the 2 that came", m.asked())
	}
}

// A job starts on permits that were never lost since it was asked for, and runs on them.
func TestJobsKeepTheirPermits(t *testing.T) {
	long := func(m *limited, p *limit) { m.allow(p, 5, forLong) }
	tests := []struct {
		name    string
		before  func(m *limited, p *limit) // until jobs are asked for
		after   func(m *limited, p *limit) // and come
		starts  bool
		revoked bool // had it started
	}{
		{"nothing happens", long, func(*limited, *limit) {}, true, false},
		{"refreshed", long, func(m *limited, p *limit) { m.at = m.at.Add(time.Hour); m.allow(p, 5, forLong) }, true, false},
		{"fewer", long, func(m *limited, p *limit) { m.allow(p, 1, forLong) }, true, false},
		{"none left to use", long, func(m *limited, p *limit) { m.allow(p, 0, forLong) }, true, false},
		{"expired", long, func(m *limited, _ *limit) { m.at = m.at.Add(forLong) }, false, true},
		{"suspended past the end", long, func(m *limited, _ *limit) { m.at = modeltest.Suspended(m.at, forLong) }, false, true},
		{"expired and regained", long, func(m *limited, p *limit) { m.at = m.at.Add(forLong); m.allow(p, 5, forLong) }, false, true},
		{"lost", long, func(m *limited, p *limit) { m.lose(p, m.at) }, false, true},
		{"lost and regained", long, func(m *limited, p *limit) { m.lose(p, m.at); m.allow(p, 5, forLong) }, false, true},
		{"lost and lifted", long, func(m *limited, p *limit) { m.lose(p, m.at); m.lift(p) }, true, false},
		{"lifted", long, func(m *limited, p *limit) { m.lift(p) }, true, false},
		{"lifted and set", long, func(m *limited, p *limit) { m.lift(p); m.allow(p, 5, forLong) }, false, false},
		{"set first", func(m *limited, _ *limit) { m.update() }, long, false, false},
		{"set and lost", func(m *limited, _ *limit) { m.update() }, func(m *limited, p *limit) { long(m, p); m.lose(p, m.at) }, false, true},
		{"another type's key", long, func(m *limited, p *limit) { m.leave(m.sources[0], p) }, true, false},
		{"a key's too", long, func(m *limited, _ *limit) {
			q := m.limit(Key{Kind: OfKey})
			m.allow(q, 5, forLong)
			m.join(m.sources[0], q)
		}, false, false},
		{"a key's that was lost once", long, func(m *limited, _ *limit) {
			q := m.limit(Key{Kind: OfKey})
			m.allow(q, 5, forLong)
			m.lose(q, m.at)
			m.allow(q, 5, forLong)
			m.join(m.sources[0], q)
		}, false, false},
		{"a key's that is lost then", long, func(m *limited, _ *limit) {
			q := m.limit(Key{Kind: OfKey})
			m.allow(q, 5, forLong)
			m.join(m.sources[0], q)
			m.lose(q, m.at)
		}, false, true},
		{"paused", long, func(m *limited, _ *limit) { m.sources[0].paused = true }, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newLimited(t, 10, 1)
			s := m.sources[0]
			p := m.limit(Key{Kind: OfType}, s)
			tt.before(m, p)
			if m.asked() == 0 {
				t.Fatal("nothing asked for")
			}
			stamp := s.stamp
			s.started++
			tt.after(m, p)
			if got := s.admits(stamp, m.now); got != tt.starts {
				t.Errorf("admits = %t", got)
			}
			if got, _ := s.revoked(stamp, m.at); got.IsZero() == tt.revoked || Elapsed(got, m.at) < 0 {
				t.Errorf("revoked at %v, want %t", got, tt.revoked)
			}
		})
	}
}

// A rate is for starts: what has started runs on whatever becomes of it.
func TestLostRateLetsJobsRun(t *testing.T) {
	m := newLimited(t, 10, 1)
	s := m.sources[0]
	p := m.limit(Key{Kind: OfType, Rate: true}, s)
	m.allow(p, 5, forLong)
	stamp := s.stamp
	m.lose(p, m.at)
	if got, _ := s.revoked(stamp, m.at); !got.IsZero() || s.admits(stamp, m.now) {
		t.Errorf("revoked at %v, starts %t", got, s.admits(stamp, m.now))
	}
}

// A handler that was given up has its permit for as long as it runs.
func TestStuckHandlerKeepsItsPermit(t *testing.T) {
	m := newLimited(t, 2, 1)
	s := m.sources[0]
	p := m.limit(Key{Kind: OfType}, s)
	s.backlog = 1 << 40
	m.allow(p, 2, forLong)
	m.deliver(s, 2, 1<<40)
	s.stuck++
	m.finish(s, time.Minute)
	if m.asked() != 0 || m.freeSlots() != 1 {
		t.Errorf("asked for %d with a free slot (%d) and no permit", m.asked(), m.freeSlots())
	}
	s.stuck--
	m.update()
	if m.asked() != 1 {
		t.Errorf("asked for %d once it had returned", m.asked())
	}
}

func TestPausedQueueIsNotAsked(t *testing.T) {
	m := newLimited(t, 4)
	m.order = Strict
	paused, other := m.add(6), m.add(1)
	m.opened(paused)
	m.opened(other)
	paused.backlog, other.backlog = 1<<40, 1<<40
	paused.paused = true
	m.update()
	if m.left[paused] != 0 || m.left[other] != 4 {
		t.Errorf("asked for %d of the paused queue and %d of the other", m.left[paused], m.left[other])
	}
	paused.paused = false
	m.deliver(other, 4, 1<<40)
	m.finish(other, time.Second)
	if m.left[paused] != 1 {
		t.Errorf("asked for %d of the resumed queue", m.left[paused])
	}
}
