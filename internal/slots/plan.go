package slots

import (
	"slices"
	"time"
)

// A planner decides what to ask for now, from what a demand knows. What it works out holds for one
// plan only. The next plan starts over in the same memory, since each job that ends needs one.
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

// plan returns what to ask for now, in a slice that the next plan overwrites, and when to plan
// again even if nothing happens, zero if never. It asks for the time only if there are limits.
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

// planBacklog shares the free slots among the types that have jobs waiting, and what may
// be asked ahead of them among those with short jobs.
func (p *planner) planBacklog() {
	covered, asked, coming := 0, 0, 0
	for _, s := range p.sources {
		coming += s.asked * s.size
		if s.silent {
			continue // what may still come of it is handed back
		}
		asked += s.needs(s.asked)
		if s.greedy {
			covered += s.needs(s.asked)
		}
	}
	p.purse = p.budget.purse(coming, p.bytes)
	// Many standing requests may cover the slots until they end, soon: more in hand than
	// can start would only be handed back.
	room := min(p.freeSlots()-covered, p.room()-asked)
	ahead := aheadFactor*p.concurrency - max(p.occupied()+covered-p.concurrency, 0)
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

// share adds to the batches of a tier's sources what each gets of n jobs, by weight, and returns
// how many it gave. A source that cannot be asked now keeps its turn, and those behind it wait. That
// is not for long: its pull is answered soon, or it falls silent and loses its turn, or the jobs
// asked ahead make room for its long ones.
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
		room := 1
		if rivals == 1 { // all that is left is for this one
			room = n - shared
		}
		if where == beforeSlots && next.per > 1 {
			room = 1
		}
		coming := next.asked + p.batch[next.index]
		k := int(min(uint64(next.fills(room, coming)), uint64(p.permits(next)), p.left(next)))
		if k = p.purse.take(k, next.size, where); k == 0 {
			break
		}
		p.batch[next.index] += k
		given := next.needs(coming+k) - next.needs(coming)
		p.cover(next, k, given)
		shared += given
		p.service = next.served + float64(max(given-1, 0))/float64(next.weight)
		next.served += float64(given) / float64(next.weight)
	}
	return shared
}

// byService orders sources by what they were given for their weight: the least served is next.
func byService(a, b *Source) int {
	switch {
	case a.served < b.served:
		return -1
	case a.served > b.served:
		return 1
	}
	return a.lastAsk - b.lastAsk
}

// planStanding has a job of an idle type come at once: each has a request for one job stand, as many
// as may stand. A single type has all free slots to itself.
func (p *planner) planStanding() {
	room := p.standingRoom()
	if room <= 0 {
		return
	}
	n, jobs := 1, 1
	if len(p.sources) == 1 && len(p.sources[0].limits) == 0 {
		only := p.sources[0]
		jobs = min(only.fills(max(p.freeSlots(), 1), 0), MaxBatch)
		jobs = max(p.purse.fits(jobs, only.size, inSlots), 1)
		n = only.needs(jobs)
	}
	floor := p.floor()
	room = p.planCalls(room, floor) - p.reserved
	for _, s := range p.rotation {
		if n > room {
			return
		}
		if !p.standable(s, floor) || p.purse.take(jobs, s.size, inSlots) == 0 {
			continue
		}
		room -= n
		p.cover(s, jobs, n)
		p.ask(s, jobs)
	}
}

// standingRoom returns how many more jobs may be asked for by requests that stand.
func (p *planner) standingRoom() int {
	long, covered, standing, bound := 0, 0, 0, p.concurrency
	for _, s := range p.sources {
		switch {
		case s.silent:
		case s.greedy:
			covered += s.needs(s.asked)
		default:
			standing += s.needs(s.asked)
		}
		if s.short() {
			bound = (1 + aheadFactor) * p.concurrency
		} else {
			long += s.taken()
		}
	}
	if long >= p.concurrency {
		return 0 // what came could not start soon
	}
	standing -= min(len(p.sources)-1, maxStanding)
	return min(max(p.freeSlots()-covered, 0), bound-p.occupied()-covered) - standing
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

// planCalls has the called types asked, in the order of the calls, and returns how much room is left.
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
		p.cover(s, 1, 1)
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

// rotate moves the sources that were asked behind the others.
func (p *planner) rotate() {
	if len(p.asks) == 0 || len(p.sources) == 1 {
		return
	}
	p.rotation = slices.DeleteFunc(p.rotation, func(s *Source) bool { return s.lastAsk > p.before })
	for _, a := range p.asks {
		p.rotation = append(p.rotation, a.source)
	}
}

// left returns how many jobs of s wait beyond those asked for.
func (p *planner) left(s *Source) uint64 {
	if asked := uint64(s.asked + p.batch[s.index]); s.backlog > asked {
		return s.backlog - asked
	}
	return 0
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
func (p *planner) growableAhead(s *Source) bool {
	if s.per > 1 && (s.asked+p.batch[s.index] > 0 || s.gathered() >= s.per) {
		return false // one call is enough to go on with
	}
	return p.growable(s) && s.mayBeAhead()
}

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

// again returns when there will be something to plan even if nothing happens, zero if never.
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
