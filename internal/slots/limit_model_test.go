package slots

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever happens, a node uses no more permits than it holds, and no permit, slot and job
// stay apart.
func TestPoolModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 5).Draw(t, "weights")
		m := newMill(t, rapid.IntRange(1, 8).Draw(t, "concurrency"))
		m.order = rapid.SampledFrom([]Order{ByWeight, Strict}).Draw(t, "order")
		for _, weight := range weights {
			m.opened(m.add(weight))
		}
		for i := range rapid.IntRange(1, 4).Draw(t, "pools") {
			key := Key{Kind: OfKey, Rate: rapid.Bool().Draw(t, "rate"), Name: string(rune('a' + i))}
			m.pool(key, rapid.SliceOfDistinct(rapid.SampledFrom(m.sources), rapid.ID).Draw(t, "members")...)
		}
		pools := rapid.SampledFrom(m.allLimits)
		permits := rapid.IntRange(0, 6)
		backlog := rapid.SampledFrom([]uint64{0, 0, 1, 3, 100_000})
		ran := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second})
		job := func(t *rapid.T, phase phase) *milled {
			all := m.in(phase)
			if len(all) == 0 {
				t.Skip("none")
			}
			return rapid.SampledFrom(all).Draw(t, "job")
		}
		deliver := func(t *rapid.T) {
			s := pick(t, m.pulled())
			m.deliver(s, rapid.IntRange(1, m.left[s]).Draw(t, "n"), backlog.Draw(t, "backlog"))
		}
		m.turn()
		t.Repeat(map[string]func(*rapid.T){
			"deliver":   deliver,
			"deliver 2": deliver,
			"start":     func(t *rapid.T) { m.start(job(t, waiting)) },
			"start 2":   func(t *rapid.T) { m.start(job(t, waiting)) },
			"end":       func(t *rapid.T) { m.end(job(t, running), ran.Draw(t, "ran")) },
			"give up": func(t *rapid.T) {
				j := job(t, running)
				j.phase = stuck
				j.source.stuck++
				m.finish(j.source, ran.Draw(t, "ran"))
			},
			"come back": func(t *rapid.T) {
				j := job(t, stuck)
				m.jobs = slices.DeleteFunc(m.jobs, func(k *milled) bool { return k == j })
				j.source.stuck--
				m.turn()
			},
			"pull ends":   func(t *rapid.T) { m.none(pick(t, m.pulled())) },
			"pull ends 2": func(t *rapid.T) { m.none(pick(t, m.pulled())) },
			"allow": func(t *rapid.T) {
				m.allow(pools.Draw(t, "pool"), permits.Draw(t, "permits"), time.Duration(rapid.IntRange(1, 20).Draw(t, "s"))*time.Second)
			},
			"lose": func(t *rapid.T) { m.lose(pools.Draw(t, "pool"), m.at); m.turn() },
			"lift": func(t *rapid.T) { m.lift(pools.Draw(t, "pool")); m.turn() },
			"join": func(t *rapid.T) {
				p, s := pools.Draw(t, "pool"), pick(t, m.sources)
				m.join(s, p)
				m.held[p] = max(m.held[p], p.used(m.at))
				m.turn()
			},
			"leave": func(t *rapid.T) { m.leave(pick(t, m.sources), pools.Draw(t, "pool")); m.turn() },
			"shut": func(t *rapid.T) {
				s := pick(t, m.sources)
				m.left[s] = 0
				m.closed(s)
				m.turn()
			},
			"open": func(t *rapid.T) {
				m.opened(pick(t, m.with(func(s *Source) bool { return !s.open })))
				m.turn()
			},
			"pause": func(t *rapid.T) { s := pick(t, m.sources); s.paused = !s.paused; m.turn() },
			"time passes": func(t *rapid.T) {
				m.at = m.at.Add(time.Duration(rapid.IntRange(1, 4000).Draw(t, "ms")) * time.Millisecond)
				m.turn()
			},
			"": func(t *rapid.T) {
				for _, s := range m.sources {
					usable := s.open && !s.paused && !slices.ContainsFunc(s.limits, func(p *limit) bool { return p.room(m.at) == 0 })
					if m.freeSlots() > 0 && m.asked() == 0 && usable && m.again.IsZero() {
						t.Fatalf("%d slots are free, and permits for a source (backlog %d), and nothing is asked for", m.freeSlots(), s.backlog)
					}
				}
			},
		})
	})
}

// In no period do more jobs start than a rate allows, however they come and end.
func TestRateModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMill(t, rapid.IntRange(1, 10).Draw(t, "concurrency"), 1, 1)
		p := m.pool(Key{Kind: OfKey, Rate: true}, m.sources...)
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
				m.turn()
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
	m := newMill(t, 10, 1)
	s := m.sources[0]
	p := m.pool(Key{Kind: OfType, Rate: true}, s)
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
		m.turn()
	}
	if starts < 2980 || starts > 3100 {
		t.Errorf("%d starts in 30 minutes at 100 a minute", starts)
	}
	if n := len(p.starts.groups); n > windowGroups+1 {
		t.Errorf("a window keeps %d groups", n)
	}
}
