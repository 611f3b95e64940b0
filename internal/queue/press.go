package queue

import (
	"cmp"
	"slices"
	"time"
)

// maxNeed bounds what a backlog counts for: more than any worker has slots.
const maxNeed = 1 << 20

// need returns how many permits are covered, but for requests that wait for jobs in vain, and
// by how many jobs more could be that are known to wait.
func (d *demand) need(p *pool, now time.Time) int {
	n := p.used(now)
	for _, s := range p.members {
		if !s.greedy {
			n -= s.asked
		}
		if s.open && !s.paused && !d.stopped {
			n += s.waiting(p, now)
		}
	}
	return min(n, maxNeed)
}

// waiting returns how many jobs of s are known to wait for a permit of p. Nodes that had some
// permits of one pool each, and waited for each other's of another, would wait for ever: so
// all take them in the same order, and need one only once they have those before it.
func (s *source) waiting(p *pool, now time.Time) int {
	if s.backlog == unheard || s.backlog <= uint64(s.asked) {
		return 0
	}
	n := int(min(s.backlog-uint64(s.asked), maxNeed))
	for _, q := range s.limits {
		if comparePools(q.key, p.key) < 0 {
			n = min(n, q.room(now))
		}
	}
	return n
}

// comparePools is the order in which permits are taken: rates first, whose permits are used up
// by starts anyway, then types before queues and keys, which others wait for as well.
func comparePools(a, b PoolKey) int {
	if a.Rate != b.Rate {
		if a.Rate {
			return -1
		}
		return 1
	}
	return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// starved reports whether nothing can be asked for since a permit is missing, and nothing is
// in hand that would tell of more. turn is the same as before if nothing was asked for since.
func (i *Inlet) starved() (turn int, starved bool) {
	g, s := i.gate, i.source
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.demand.stopped || !s.open || s.paused || s.asked > 0 || s.inHand > 0 {
		return s.turn, false
	}
	now := g.now()
	return s.turn, slices.ContainsFunc(s.limits, func(p *pool) bool { return p.room(now) == 0 })
}

// heard tells how many jobs wait though none was asked for.
func (i *Inlet) heard(backlog uint64) {
	i.gate.do(func(d *demand) {
		s := i.source
		if !s.open || s.asked > 0 || s.inHand > 0 {
			return
		}
		d.delivered(s, 0, backlog)
	})
}
