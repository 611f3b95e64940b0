package queue

import (
	"slices"
	"time"
)

// A PoolKey names a limit that all nodes share.
type PoolKey struct {
	Rate bool   // a limit on the starts in a period, not on the jobs at once
	Kind string // one of the following
	Name string // of the type, the key or the queue
}

// The kinds of pools.
const (
	TypePool  = "type"  // the jobs of a type, in all queues
	KeyPool   = "key"   // the jobs of all types that share a key
	QueuePool = "queue" // the jobs of a queue
)

// pool is this node's part of a limit. A source may be asked for no more than the least that
// is free in any pool it belongs to. A permit is covered by what is asked for and by what is
// in hand; with a quota until the handler has returned, with a rate until a period after
// the handler's start.
type pool struct {
	key     PoolKey
	members []*source
	limited bool

	valid   bool // there are permits, until
	permits int
	until   time.Time
	since   uint64 // demand.clock when there were permits first, or again
	lost    uint64 // demand.clock when they were lost last
	lostAt  time.Time

	starts window // of a rate
	free   int    // while a plan is made
}

// over reports whether the permits cannot be used any more: they may be another node's.
func (p *pool) over(now time.Time) bool { return !p.valid || elapsed(p.until, now) >= 0 }

// used returns how many permits are covered.
func (p *pool) used(now time.Time) (n int) {
	for _, s := range p.members {
		n += s.asked + s.inHand
		if p.key.Rate {
			n -= s.started
		} else {
			n += s.stuck
		}
	}
	if p.key.Rate {
		n += p.starts.count(now)
	}
	return n
}

// full reports whether all permits are used by jobs that have started. What
// was asked for under more permits than there are now does not start.
func (p *pool) full(now time.Time) bool {
	n := 0
	for _, s := range p.members {
		n += s.started + s.stuck
	}
	if p.key.Rate {
		n = p.starts.count(now)
	}
	return n >= p.permits
}

// room returns how many permits are free.
func (p *pool) room(now time.Time) int {
	used := p.used(now) // asked in any case, so that the starts that are old are forgotten
	if p.over(now) {
		return 0
	}
	return max(p.permits-used, 0)
}

// want returns how many permits could be used now: those that are, and one for each free
// slot. Of a rate it is one more at least, for the next slot that is free: jobs that end give
// no permit back, and to get one takes longer than another type to have the slot. Where every source waits for jobs in vain, it is one to spare for each: the others are
// of more use to a node that has some.
func (d *demand) want(p *pool, now time.Time) int {
	used, asked, taken, due, open, idle := p.used(now), 0, 0, 0, 0, true
	for _, s := range p.members {
		asked += s.asked
		taken += s.asked + s.inHand
		if s.open && !s.paused {
			open++
			due += d.due(s)
			idle = idle && s.asked > 0 && !s.greedy
		}
	}
	switch free := max(d.free()-asked, 0); {
	case open == 0 || d.stopped:
		return used
	case idle:
		return used + min(free, open)
	case p.key.Rate:
		return used + max(free, due-taken, 1)
	default:
		return max(used+free, due)
	}
}

// due returns how many slots s can count on, though others have taken them: its share among
// those with a backlog, and while none of its own is known, one to find out. Without that, a
// worker that is full with other jobs would never ask for a permit.
func (d *demand) due(s *source) int {
	if s.backlog == 0 && s.inHand == 0 {
		return 1
	}
	total := 0
	for _, o := range d.sources {
		switch {
		case !o.open || o.paused || o.backlog == 0 && o.inHand == 0:
		case d.order == strict && o.weight < s.weight:
		case d.order == strict && o.weight > s.weight && o.wanting():
			return 1
		default:
			total += o.weight
		}
	}
	return max(d.concurrency*s.weight/max(total, 1), 1)
}

// allow sets the permits of p until the given time. The first ones make it a limit: jobs
// asked for before have none.
func (d *demand) allow(p *pool, permits int, until, now time.Time) {
	if p.valid && p.over(now) {
		d.lose(p, now)
	}
	if !p.limited {
		p.limited = true
		d.clock++
		p.since = d.clock
		d.limit()
	}
	p.permits, p.until, p.valid = permits, until, true
}

// lose takes all permits away: whoever has one is to stop.
func (d *demand) lose(p *pool, now time.Time) {
	if !p.limited {
		p.limited = true
		d.limit()
	}
	d.clock++
	p.lostAt = now
	if p.valid && elapsed(p.until, now) > 0 {
		p.lostAt = p.until
	}
	p.since, p.lost = d.clock, d.clock
	p.valid, p.permits = false, 0
}

// lift ends the limit.
func (d *demand) lift(p *pool) {
	p.limited, p.valid, p.permits = false, false, 0
	p.starts.groups, p.starts.total = nil, 0
	d.limit()
}

// join makes s a member of p. Its jobs in hand that have not started have no permit of p.
func (d *demand) join(s *source, p *pool) {
	if !slices.Contains(p.members, s) {
		p.members = append(p.members, s)
		d.clock++
		s.joined = d.clock
		d.limit()
	}
}

// leave ends that.
func (d *demand) leave(s *source, p *pool) {
	if i := slices.Index(p.members, s); i >= 0 {
		p.members = slices.Delete(p.members, i, i+1)
		d.limit()
	}
}

// limit finds the limits there are, and to whom they apply.
func (d *demand) limit() {
	d.limits = nil
	for _, s := range d.sources {
		s.limits = nil
	}
	for _, p := range d.pools {
		if !p.limited {
			continue
		}
		d.limits = append(d.limits, p)
		for _, s := range p.members {
			s.limits = append(s.limits, p)
		}
	}
}

// started notes that a handler of s starts.
func (d *demand) started(s *source, now time.Time) {
	s.started++
	for _, p := range s.limits {
		if p.key.Rate {
			p.starts.add(now)
		}
	}
}

// admits reports whether a job that was asked for at stamp may start: with permits of all
// its pools that were never lost since.
func (s *source) admits(stamp uint64, now time.Time) bool {
	if s.paused || len(s.limits) > 0 && stamp < s.joined {
		return false
	}
	return !slices.ContainsFunc(s.limits, func(p *pool) bool { return stamp < p.since || p.over(now) })
}

// revoked returns since when a running job that was asked for at stamp has no permit any
// more, zero if it has. A rate limits starts only.
func (s *source) revoked(stamp uint64, now time.Time) time.Time {
	for _, p := range s.limits {
		switch {
		case p.key.Rate:
		case max(stamp, s.joined) < p.lost:
			return p.lostAt
		case p.valid && p.over(now):
			return p.until
		}
	}
	return time.Time{}
}

// until returns when the permits of s's running jobs end, zero if never.
func (s *source) until() (first time.Time) {
	for _, p := range s.limits {
		if !p.key.Rate && p.valid && (first.IsZero() || p.until.Before(first)) {
			first = p.until
		}
	}
	return first
}

// free returns how many jobs of s its pools have permits for, as the plan stands.
func (s *source) free() int {
	n := maxBatch * (1 + aheadFactor)
	for _, p := range s.limits {
		n = min(n, p.free)
	}
	return n
}

// cover takes n permits for s while a plan is made.
func (s *source) cover(n int) {
	for _, p := range s.limits {
		p.free -= n
	}
}

// blocked reports whether nothing of s may start, so that others flow past it.
func (s *source) blocked() bool { return s.paused || s.held || len(s.limits) > 0 && s.free() <= 0 }

// probePause is how often a source without a known backlog is asked while others could
// use the permits that a standing request would cover.
const probePause = time.Second

// prepare counts what the pools have free. A source that nothing is known to wait in leaves
// its permits to those with a backlog, and is now and then asked just for what is there.
func (d *demand) prepare(now time.Time) {
	for _, p := range d.limits {
		p.free = p.room(now)
	}
	for _, s := range d.sources {
		if len(s.limits) > 0 && s.backlog == 0 && s.askable() && now.Sub(s.probed) >= probePause && s.contested() {
			s.probed, s.backlog = now, 1
			s.served = max(s.served, d.now)
		}
	}
}

// contested reports whether another source could use a permit that s may have.
func (s *source) contested() bool {
	return slices.ContainsFunc(s.limits, func(p *pool) bool {
		return slices.ContainsFunc(p.members, func(m *source) bool {
			return m != s && m.open && !m.paused && m.backlog > uint64(m.asked) &&
				!slices.ContainsFunc(m.limits, func(q *pool) bool { return q != p && q.free <= 0 })
		})
	})
}

// crowded reports whether a standing request of s covers a permit that others wait to
// cover with theirs.
func (s *source) crowded() bool {
	return slices.ContainsFunc(s.limits, func(p *pool) bool { return len(p.members) > p.permits })
}

// wake returns when there is something to plan though nothing has happened, zero if never.
func (d *demand) wake() (first time.Time) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if d.stopped {
		return first
	}
	for _, p := range d.limits {
		if p.key.Rate && p.free <= 0 {
			sooner(p.starts.next())
		}
	}
	for _, s := range d.sources {
		if len(s.limits) > 0 && s.backlog == 0 && s.askable() && s.contested() {
			sooner(s.probed.Add(probePause))
		}
	}
	return first
}
