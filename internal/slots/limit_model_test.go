package slots

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/modeltest"
)

// Whatever happens, a node uses no more permits than it holds, and no permit, slot and job
// stay apart.
func TestLimitModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 5).Draw(t, "weights")
		m := newLimited(t, rapid.IntRange(1, 8).Draw(t, "concurrency"))
		m.order = rapid.SampledFrom([]Order{ByWeight, Strict}).Draw(t, "order")
		for _, weight := range weights {
			m.opened(m.add(weight))
		}
		for i := range rapid.IntRange(1, 4).Draw(t, "limits") {
			key := Key{Kind: OfKey, Rate: rapid.Bool().Draw(t, "rate"), Name: string(rune('a' + i))}
			m.limit(key, rapid.SliceOfDistinct(rapid.SampledFrom(m.sources), rapid.ID).Draw(t, "members")...)
		}
		backlog := rapid.SampledFrom([]uint64{0, 0, 1, 3, 100_000})
		ran := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second})
		m.update()
		steps := make(modeltest.Steps)
		m.jobSteps(steps, backlog, ran)
		m.limitSteps(steps, rapid.SampledFrom(m.allLimits))
		m.sourceSteps(steps)
		steps.Add("time passes", 1, func(t *rapid.T) {
			m.at = m.at.Add(time.Duration(rapid.IntRange(1, 4000).Draw(t, "ms")) * time.Millisecond)
			m.update()
		})
		steps.Check(m.checkUse)
		t.Repeat(steps)
	})
}

// job is one that is in a phase.
func (m *limited) job(t *rapid.T, phase phase) *limitedJob {
	all := m.in(phase)
	if len(all) == 0 {
		t.Skip("none")
	}
	return rapid.SampledFrom(all).Draw(t, "job")
}

// jobSteps are what happens to pulls and jobs.
func (m *limited) jobSteps(steps modeltest.Steps, backlog *rapid.Generator[uint64], ran *rapid.Generator[time.Duration]) {
	steps.Add("deliver", 2, func(t *rapid.T) {
		s := pick(t, m.pulled())
		m.deliver(s, rapid.IntRange(1, m.left[s]).Draw(t, "n"), backlog.Draw(t, "backlog"))
	})
	steps.Add("pull ends", 2, func(t *rapid.T) { m.none(pick(t, m.pulled())) })
	steps.Add("start", 2, func(t *rapid.T) { m.start(m.job(t, waiting)) })
	steps.Add("end", 1, func(t *rapid.T) { m.end(m.job(t, running), ran.Draw(t, "ran")) })
	steps.Add("give up", 1, func(t *rapid.T) {
		j := m.job(t, running)
		j.phase = stuck
		j.source.stuck++
		m.finish(j.source, ran.Draw(t, "ran"))
	})
	steps.Add("come back", 1, func(t *rapid.T) {
		j := m.job(t, stuck)
		m.jobs = slices.DeleteFunc(m.jobs, func(k *limitedJob) bool { return k == j })
		j.source.stuck--
		m.update()
	})
}

// limitSteps are what an agent does.
func (m *limited) limitSteps(steps modeltest.Steps, limits *rapid.Generator[*limit]) {
	permits := rapid.IntRange(0, 6)
	steps.Add("allow", 1, func(t *rapid.T) {
		m.allow(limits.Draw(t, "limit"), permits.Draw(t, "permits"), time.Duration(rapid.IntRange(1, 20).Draw(t, "s"))*time.Second)
	})
	steps.Add("lose", 1, func(t *rapid.T) { m.lose(limits.Draw(t, "limit"), m.at); m.update() })
	steps.Add("lift", 1, func(t *rapid.T) { m.lift(limits.Draw(t, "limit")); m.update() })
	steps.Add("join", 1, func(t *rapid.T) {
		l, s := limits.Draw(t, "limit"), pick(t, m.sources)
		m.join(s, l)
		m.held[l] = max(m.held[l], l.used(m.at))
		m.update()
	})
	steps.Add("leave", 1, func(t *rapid.T) { m.leave(pick(t, m.sources), limits.Draw(t, "limit")); m.update() })
}

// sourceSteps are what happens to sources.
func (m *limited) sourceSteps(steps modeltest.Steps) {
	steps.Add("shut", 1, func(t *rapid.T) {
		s := pick(t, m.sources)
		m.left[s] = 0
		m.closed(s)
		m.update()
	})
	steps.Add("open", 1, func(t *rapid.T) {
		m.opened(pick(t, m.with(func(s *Source) bool { return !s.open })))
		m.update()
	})
	steps.Add("pause", 1, func(t *rapid.T) { s := pick(t, m.sources); s.paused = !s.paused; m.update() })
}

// checkUse fails if a permit, a slot and a source stay apart.
func (m *limited) checkUse(t *rapid.T) {
	for _, s := range m.sources {
		usable := s.open && !s.paused && !slices.ContainsFunc(s.limits, func(l *limit) bool { return l.room(m.at) == 0 })
		if m.freeSlots() > 0 && m.asked() == 0 && usable && m.again.IsZero() {
			t.Fatalf("%d slots are free, and permits for a source (backlog %d), and nothing is asked for", m.freeSlots(), s.backlog)
		}
	}
}

// In no period do more jobs start than a rate allows, however they come and end.
func TestRateModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newLimited(t, rapid.IntRange(1, 10).Draw(t, "concurrency"), 1, 1)
		p := m.limit(Key{Kind: OfKey, Rate: true}, m.sources...)
		period := time.Duration(rapid.IntRange(100, 60_000).Draw(t, "ms")) * time.Millisecond
		p.starts.period = period
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		m.allow(p, limit, 1000*forLong)
		var began []time.Time
		for range rapid.IntRange(10, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				if all := m.in(running); len(all) > 0 {
					m.end(all[0], time.Second)
				}
			case 1:
				m.at = m.at.Add(period / time.Duration(rapid.IntRange(1, 500).Draw(t, "part")))
				m.update()
			case 2:
				if s := m.pulled(); len(s) > 0 {
					m.deliver(s[0], 1, 1000)
				}
			case 3:
				if all := m.in(waiting); len(all) > 0 && m.start(all[0]) {
					began = append(began, m.at)
				}
			}
		}
		for i, from := range began {
			n := 0
			for _, at := range began[i:] {
				if at.Sub(from) < period {
					n++
				}
			}
			if n > limit {
				t.Fatalf("%d starts within %v from the %d-th on, want at most %d", n, period, i, limit)
			}
		}
	})
}

// A rate is used up to the last start: each that ages out makes room for one.
func TestRateIsUsedFully(t *testing.T) {
	m := newLimited(t, 10, 1)
	s := m.sources[0]
	p := m.limit(Key{Kind: OfType, Rate: true}, s)
	s.backlog = 1 << 40
	m.allow(p, 100, 1000*forLong)
	starts, began := 0, m.at
	for m.at.Sub(began) < 30*time.Minute {
		for _, s := range m.pulled() {
			m.deliver(s, m.left[s], 1<<40)
		}
		for _, j := range m.in(waiting) {
			if !m.start(j) {
				t.Fatal("a job in hand had no permit")
			}
			starts++
			m.end(j, 9*time.Millisecond)
		}
		if len(m.pulled()) > 0 {
			continue
		}
		at := m.again
		if at.IsZero() {
			t.Fatal("nothing is asked for, and nobody wakes")
		}
		m.at = at
		m.update()
	}
	if starts < 2980 || starts > 3100 {
		t.Errorf("%d starts in 30 minutes at 100 a minute", starts)
	}
	if n := len(p.starts.groups); n > windowGroups+1 {
		t.Errorf("a window keeps %d groups", n)
	}
}
