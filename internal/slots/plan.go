package slots

import (
	"slices"
	"time"
)

// A planner decides what to ask for now, from what a demand knows. What it works out holds for
// one plan; the next one starts over in the same memory, since there is a plan for each job that
// ends.
type planner struct {
	*demand
	purse  purse
	batch  []int // by source: what it is to be asked for of its backlog; 0 between plans
	free   []int // by limit in force: permits that are left
	asks   []ask
	before int // demand.asks when the plan began
}

// An ask is for n jobs of a source.
type ask struct {
	source *Source
	n      int
}

func (d *demand) newPlanner() *planner {
	p := &d.planner
	p.demand, p.asks, p.before = d, p.asks[:0], d.asks
	return p
}

// plan returns what is to be asked for now, in a slice that is the next plan's again; and when to
// plan again though nothing happens, zero if never. It wants to know the time only if there are
// limits.
func (d *demand) plan(now func() time.Time) (asks []ask, again time.Time) {
	p := d.newPlanner()
	if d.stopped || d.held {
		return nil, time.Time{}
	}
	if len(d.limits) > 0 {
		at := now()
		p.countPermits(at)
		p.probe(at)
	}
	p.planBacklog()
	p.planStanding()
	p.rotate()
	if len(d.limits) > 0 {
		again = p.again()
	}
	return p.asks, again
}

// countPermits counts what is left of each limit.
func (p *planner) countPermits(now time.Time) {
	p.free = p.free[:0]
	for _, l := range p.limits {
		p.free = append(p.free, l.room(now))
	}
}

// planBacklog shares the free slots among the types that have jobs waiting, and what may
// be asked ahead of them among those with short jobs.
func (p *planner) planBacklog() {
	covered, asked, coming := 0, 0, 0
	for _, s := range p.sources {
		coming += s.asked * s.size
		if s.silent {
			continue // what may still come of it is handed back
		}
		asked += s.asked
		if s.greedy {
			covered += s.asked
		}
	}
	p.purse = p.budget.purse(coming, p.bytes)
	// Many standing requests may cover the slots until they end, soon: more in hand than
	// can start would only be handed back.
	room := min(p.freeSlots()-covered, p.room()-asked)
	ahead := aheadFactor*p.concurrency - max(p.inHand+covered-p.concurrency, 0)
	if max(room, ahead) <= 0 {
		return
	}
	p.batch = append(p.batch, make([]int, len(p.sources)-len(p.batch))...)
	for _, tier := range p.tiers {
		if slices.ContainsFunc(tier, p.hungry) {
			room -= p.share(room, tier, p.growable, inSlots)
			ahead -= p.share(ahead, tier, p.growableAhead, beforeSlots)
			for _, s := range tier {
				if n := min(p.batch[s.index], MaxBatch-s.asked); n > 0 {
					p.ask(s, n)
				}
				p.batch[s.index] = 0
			}
		}
		if slices.ContainsFunc(tier, p.wanting) {
			break // what is left is for these, as soon as they can be asked again
		}
	}
}

// share adds to the batches of a tier's sources what each gets of n jobs, by weight, and
// returns how many it gave. One that cannot be asked now keeps its turn, and those behind it
// wait: its pull is answered soon, or else it is silent and has lost its turn, or the jobs asked
// ahead make room for its long ones.
func (p *planner) share(n int, tier []*Source, can func(*Source) bool, where stay) (shared int) {
	for shared < n {
		var next *Source
		rivals := 0
		for _, s := range tier {
			if !p.wanting(s) || p.left(s) == 0 {
				continue
			}
			rivals++
			if next == nil || byService(s, next) < 0 {
				next = s
			}
		}
		if next == nil || !can(next) {
			break
		}
		k := 1
		if rivals == 1 { // all that is left is for this one
			k = int(min(uint64(n-shared), uint64(p.permits(next)), p.left(next)))
		}
		if k = p.purse.take(k, next.size, where); k == 0 {
			break
		}
		p.batch[next.index] += k
		p.cover(next, k)
		shared += k
		p.service = next.served + float64(k-1)/float64(next.weight)
		next.served += float64(k) / float64(next.weight)
	}
	return shared
}

// byService orders by what a source was given for its weight: the least served is next.
func byService(a, b *Source) int {
	switch {
	case a.served < b.served:
		return -1
	case a.served > b.served:
		return 1
	}
	return a.lastAsk - b.lastAsk
}

// planStanding keeps idle types heard: a request of one each, as many as may stand. A
// single type has all free slots to itself.
func (p *planner) planStanding() {
	room := p.standingRoom()
	if room <= 0 {
		return
	}
	n := 1
	if len(p.sources) == 1 && len(p.sources[0].limits) == 0 {
		n = min(max(p.freeSlots(), 1), MaxBatch)
		n = max(p.purse.fits(n, p.sources[0].size, inSlots), 1)
	}
	floor := p.floor()
	room = p.planCalls(room, floor) - p.reserved
	for _, s := range p.rotation {
		if n > room {
			return
		}
		if !p.standable(s, floor) || p.purse.take(n, s.size, inSlots) == 0 {
			continue
		}
		room -= n
		p.cover(s, n)
		p.ask(s, n)
	}
}

// standingRoom returns how many more jobs may be asked for by requests that stand.
func (p *planner) standingRoom() int {
	long, covered, standing, bound := 0, 0, 0, p.concurrency
	for _, s := range p.sources {
		switch {
		case s.silent:
		case s.greedy:
			covered += s.asked
		default:
			standing += s.asked
		}
		if s.short() {
			bound = (1 + aheadFactor) * p.concurrency
		} else {
			long += s.inHand
		}
	}
	if long >= p.concurrency {
		return 0 // what came could not start soon
	}
	standing -= min(len(p.sources)-1, maxStanding)
	return min(max(p.freeSlots()-covered, 0), bound-p.inHand-covered) - standing
}

// floor is the weight below which nothing is to be asked for: with a strict order, that of
// the heaviest queue with more jobs than were asked for, and 0 if there is none.
func (p *planner) floor() int {
	if p.order == ByWeight {
		return 0
	}
	for _, tier := range p.tiers {
		if slices.ContainsFunc(tier, p.wanting) {
			return tier[0].weight
		}
	}
	return 0
}

// planCalls has those asked that were called, in that order, and returns how much of room it left.
func (p *planner) planCalls(room, floor int) int {
	if len(p.calls) == 0 {
		return room
	}
	p.calls = slices.DeleteFunc(p.calls, func(s *Source) bool {
		switch {
		case !s.called:
			return true // a job has come
		case s.asked > 0:
			return false
		case !p.standable(s, floor):
			s.called = false
			return true
		case room <= 0 || p.purse.take(1, s.size, inSlots) == 0:
			return false
		}
		room--
		p.cover(s, 1)
		p.ask(s, 1)
		s.brief, s.called = true, false
		return true
	})
	return room
}

// ask has s asked for n jobs.
func (p *planner) ask(s *Source, n int) {
	p.demand.asks++
	s.asked += n
	s.brief = false
	s.greedy, s.lastAsk, s.stamp = s.backlog > 0, p.demand.asks, p.epoch
	p.asks = append(p.asks, ask{source: s, n: n})
}

// rotate puts those that were asked behind the others.
func (p *planner) rotate() {
	if len(p.asks) == 0 || len(p.sources) == 1 {
		return
	}
	p.rotation = slices.DeleteFunc(p.rotation, func(s *Source) bool { return s.lastAsk > p.before })
	for _, a := range p.asks {
		p.rotation = append(p.rotation, a.source)
	}
}

// permits returns how many jobs of s its limits have permits for.
func (p *planner) permits(s *Source) int {
	n := MaxBatch * (1 + aheadFactor)
	for _, l := range s.limits {
		n = min(n, p.free[l.index])
	}
	return n
}

// cover takes n permits for s.
func (p *planner) cover(s *Source, n int) {
	for _, l := range s.limits {
		p.free[l.index] -= n
	}
}

// left returns how many jobs of s wait beyond those asked for.
func (p *planner) left(s *Source) uint64 {
	if asked := uint64(s.asked + p.batch[s.index]); s.backlog > asked {
		return s.backlog - asked
	}
	return 0
}

// blocked reports whether nothing of s may start, so that others flow past it.
func (p *planner) blocked(s *Source) bool {
	return s.paused || s.held || len(s.limits) > 0 && p.permits(s) <= 0
}

// askable reports whether s can be asked now.
func (p *planner) askable(s *Source) bool {
	return s.open && !s.silent && s.asked == 0 && !p.blocked(s)
}

// growable reports whether s can be asked now, or for more of its backlog than it is about to be.
func (p *planner) growable(s *Source) bool {
	return s.open && !s.silent && (s.asked == 0 || s.unsent && s.greedy) && !p.blocked(s)
}

// growableAhead reports whether s can be asked now for more than can start at once.
func (p *planner) growableAhead(s *Source) bool { return p.growable(s) && s.mayBeAhead() }

// hungry reports whether s can be asked for jobs that wait.
func (p *planner) hungry(s *Source) bool { return p.growable(s) && s.backlog > 0 }

// wanting reports whether more jobs of s wait than it was asked for, and may start.
func (p *planner) wanting(s *Source) bool {
	return s.backlog > uint64(s.asked) && !s.silent && !p.blocked(s)
}

// standable reports whether a request that stands may be sent to s, where nothing may be
// asked of those lighter than floor.
func (p *planner) standable(s *Source, floor int) bool {
	return s.backlog == 0 && p.askable(s) && s.weight >= floor && !p.contested(s)
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

// again returns when there is something to plan though nothing has happened, zero if never.
func (p *planner) again() (first time.Time) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	for _, l := range p.limits {
		if l.key.Rate && p.free[l.index] <= 0 {
			sooner(l.starts.next())
		}
	}
	for _, s := range p.sources {
		if p.leavesPermits(s) {
			sooner(s.probed.Add(probePause))
		}
	}
	return first
}
