package slots

import (
	"cmp"
	"time"
)

// maxNeed bounds what a backlog counts for: more than any worker has slots.
const maxNeed = 1 << 20

// need returns how many permits are covered, but for requests that wait for jobs in vain, and
// by how many jobs more could be that are known to wait.
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

// waiting returns how many jobs of s are known to wait for a permit of l. Nodes that had some
// permits of one pool each, and waited for each other's of another, would wait for ever: so
// all take them in the same order, and need one only once they have those before it.
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

// compareKeys is the order in which permits are taken: rates first, whose permits are used up
// by starts anyway, then types before queues and keys, which others wait for as well.
func compareKeys(a, b Key) int {
	if a.Rate != b.Rate {
		if a.Rate {
			return -1
		}
		return 1
	}
	return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}
