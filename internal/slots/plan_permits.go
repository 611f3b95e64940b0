package slots

import (
	"slices"
	"time"
)

// countPermits counts what is left of each limit.
func (p *planner) countPermits(now time.Time) {
	p.free = p.free[:0]
	for _, l := range p.limits {
		p.free = append(p.free, l.room(now))
	}
}

// permits returns how many jobs of s its limits have permits for.
func (p *planner) permits(s *Source) int {
	n := MaxBatch * (1 + aheadFactor)
	for _, l := range s.limits {
		if l.ofCalls(s) {
			n = min(n, s.fills(p.free[l.index], s.asked+p.batched(s)))
		} else {
			n = min(n, p.free[l.index])
		}
	}
	return n
}

// batched is what s is to be asked for, as far as it is planned.
func (p *planner) batched(s *Source) int {
	if s.index < len(p.batch) {
		return p.batch[s.index]
	}
	return 0
}

// cover takes permits for as many jobs of s, which need as many slots.
func (p *planner) cover(s *Source, jobs, slots int) {
	for _, l := range s.limits {
		if l.ofCalls(s) {
			p.free[l.index] -= slots
		} else {
			p.free[l.index] -= jobs
		}
	}
}

// blocked reports whether nothing of s may start, so that others flow past it.
func (p *planner) blocked(s *Source) bool {
	return s.paused || s.held || len(s.limits) > 0 && p.permits(s) <= 0
}

// contested reports whether another source could use a permit that s may have.
func (p *planner) contested(s *Source) bool {
	return slices.ContainsFunc(s.limits, func(l *limit) bool {
		return slices.ContainsFunc(l.members, func(m *Source) bool {
			return m != s && m.open && !m.paused && m.backlog > uint64(m.asked) &&
				!slices.ContainsFunc(m.limits, func(o *limit) bool { return o != l && p.free[o.index] <= 0 })
		})
	})
}

// probePause is how often a source without a known backlog is asked while others could
// use the permits that a standing request would cover.
const probePause = time.Second

// probe has a source that nothing is known to wait in, and that leaves its permits to those with
// a backlog, asked now and then just for what is there.
func (p *planner) probe(now time.Time) {
	for _, s := range p.sources {
		if p.leavesPermits(s) && now.Sub(s.probed) >= probePause {
			s.probed, s.backlog = now, 1
			s.served = max(s.served, p.service)
		}
	}
}

// leavesPermits reports whether s is not asked since others have more use for its permits.
func (p *planner) leavesPermits(s *Source) bool {
	return len(s.limits) > 0 && s.backlog == 0 && p.askable(s) && p.contested(s)
}
