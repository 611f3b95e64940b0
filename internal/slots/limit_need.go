package slots

import (
	"cmp"
	"time"
)

// maxNeed bounds what a backlog counts for: more than any worker has slots.
const maxNeed = 1 << 20

// need returns how many permits are used, except for requests that wait for jobs in vain, and how
// many more could be used by jobs that are known to wait.
func (d *demand) need(l *limit, now time.Time) int {
	n := l.used(now)
	for _, s := range l.members {
		if !s.greedy {
			n -= s.asked
		}
		if s.open && !s.paused && !d.stopped {
			n += s.waiting(l, now)
		}
	}
	return min(n, maxNeed)
}

// waiting returns how many jobs of s are known to wait for a permit of l. Two nodes that each held
// permits of one limit and waited for the other's of a second one would wait for ever. So all nodes
// take permits in the same order, and need one only once they have those before it.
func (s *Source) waiting(l *limit, now time.Time) int {
	if s.backlog == unheard || s.backlog <= uint64(s.asked) {
		return 0
	}
	n := int(min(s.backlog-uint64(s.asked), maxNeed))
	for _, q := range s.limits {
		if compareKeys(q.key, l.key) < 0 {
			n = min(n, q.room(now))
		}
	}
	return n
}

// compareKeys is the order in which permits are taken: this node's own first, without which those
// of all nodes would lie idle here. Then rates, since starts use up their permits anyway, then types
// before queues and keys, which other types wait for as well.
func compareKeys(a, b Key) int {
	if here := a.Kind == ofQueueHere; here != (b.Kind == ofQueueHere) {
		if here {
			return -1
		}
		return 1
	}
	if a.Rate != b.Rate {
		if a.Rate {
			return -1
		}
		return 1
	}
	return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// want returns how many permits could be used now: those in use, and one for each job that a free slot
// could run. Of a
// rate it is at least one more, for the next slot that becomes free: jobs that end give no permit
// back, and another type would have the slot before a permit is there. If all sources wait for jobs
// in vain, it is one to spare for each: another node that has jobs has more use for the rest.
func (d *demand) want(l *limit, now time.Time) int {
	p := d.newPlanner()
	p.countPermits(now)
	used, asked, taken, due, open, per, idle := l.used(now), 0, 0, 0, 0, 1, true
	for _, s := range l.members {
		asked += s.needs(s.asked)
		taken += s.asked + s.inHand
		if s.open && !s.paused {
			open++
			due += p.due(s) * s.per
			per = max(per, s.per)
			idle = idle && s.asked > 0 && !s.greedy
		}
	}
	switch free := max(d.freeSlots()-asked, 0) * per; {
	case open == 0 || d.stopped:
		return used
	case idle:
		return used + min(free, open)
	case l.key.Rate:
		return used + max(free, due-taken, 1)
	default:
		return max(used+free, due)
	}
}

// due returns how many slots s can count on even if others have taken them: its share among the
// sources with a backlog, and one to find out while none of its own is known. Without that, a
// worker that is full of other jobs would never ask for a permit.
func (p *planner) due(s *Source) int {
	if s.backlog == 0 && s.inHand == 0 {
		return 1
	}
	total := 0
	for _, o := range p.sources {
		switch {
		case !o.open || o.paused || o.backlog == 0 && o.inHand == 0:
		case p.order == Strict && o.weight < s.weight:
		case p.order == Strict && o.weight > s.weight && p.wanting(o):
			return 1
		default:
			total += o.weight
		}
	}
	return max(p.concurrency*s.weight/max(total, 1), 1)
}
