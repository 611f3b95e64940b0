package slots

import (
	"slices"
	"time"
)

// limit is this node's part of a limit. A source may be asked for no more than the least that
// is free in any limit it belongs to. A permit is covered by what is asked for and by what is
// in hand; with a quota until the handler has returned, with a rate until a period after
// the handler's start.
type limit struct {
	slots   *Slots
	key     Key
	members []*Source
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
func (l *limit) over(now time.Time) bool { return !l.valid || Elapsed(l.until, now) >= 0 }

// used returns how many permits are covered.
func (l *limit) used(now time.Time) (n int) {
	for _, s := range l.members {
		n += s.asked + s.inHand
		if l.key.Rate {
			n -= s.started
		} else {
			n += s.stuck
		}
	}
	if l.key.Rate {
		n += l.starts.count(now)
	}
	return n
}

// full reports whether all permits are used by jobs that have started. What
// was asked for under more permits than there are now does not start.
func (l *limit) full(now time.Time) bool {
	n := 0
	for _, s := range l.members {
		n += s.started + s.stuck
	}
	if l.key.Rate {
		n = l.starts.count(now)
	}
	return n >= l.permits
}

// room returns how many permits are free.
func (l *limit) room(now time.Time) int {
	used := l.used(now) // asked in any case, so that the starts that are old are forgotten
	if l.over(now) {
		return 0
	}
	return max(l.permits-used, 0)
}

// want returns how many permits could be used now: those that are, and one for each free
// slot. Of a rate it is one more at least, for the next slot that is free: jobs that end give
// no permit back, and to get one takes longer than another type to have the slot. Where every source waits for jobs in vain, it is one to spare for each: the others are
// of more use to a node that has some.
func (d *demand) want(l *limit, now time.Time) int {
	used, asked, taken, due, open, idle := l.used(now), 0, 0, 0, 0, true
	for _, s := range l.members {
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
	case l.key.Rate:
		return used + max(free, due-taken, 1)
	default:
		return max(used+free, due)
	}
}

// due returns how many slots s can count on, though others have taken them: its share among
// those with a backlog, and while none of its own is known, one to find out. Without that, a
// worker that is full with other jobs would never ask for a permit.
func (d *demand) due(s *Source) int {
	if s.backlog == 0 && s.inHand == 0 {
		return 1
	}
	total := 0
	for _, o := range d.sources {
		switch {
		case !o.open || o.paused || o.backlog == 0 && o.inHand == 0:
		case d.order == Strict && o.weight < s.weight:
		case d.order == Strict && o.weight > s.weight && o.wanting():
			return 1
		default:
			total += o.weight
		}
	}
	return max(d.concurrency*s.weight/max(total, 1), 1)
}

// allow sets the permits of l until the given time. The first ones make it a limit: jobs
// asked for before have none.
func (d *demand) allow(l *limit, permits int, until, now time.Time) {
	if l.valid && l.over(now) {
		d.lose(l, now)
	}
	if !l.limited {
		l.limited = true
		d.clock++
		l.since = d.clock
		d.enforce()
	}
	l.permits, l.until, l.valid = permits, until, true
}

// lose takes all permits away: whoever has one is to stop.
func (d *demand) lose(l *limit, now time.Time) {
	if !l.limited {
		l.limited = true
		d.enforce()
	}
	d.clock++
	l.lostAt = now
	if l.valid && Elapsed(l.until, now) > 0 {
		l.lostAt = l.until
	}
	l.since, l.lost = d.clock, d.clock
	l.valid, l.permits = false, 0
}

// lift ends the limit.
func (d *demand) lift(l *limit) {
	l.limited, l.valid, l.permits = false, false, 0
	l.starts.groups, l.starts.total = nil, 0
	d.enforce()
}

// join makes s a member of l. Its jobs in hand that have not started have no permit of l.
func (d *demand) join(s *Source, l *limit) {
	if !slices.Contains(l.members, s) {
		l.members = append(l.members, s)
		d.clock++
		s.joined = d.clock
		d.enforce()
	}
}

// leave ends that.
func (d *demand) leave(s *Source, l *limit) {
	if i := slices.Index(l.members, s); i >= 0 {
		l.members = slices.Delete(l.members, i, i+1)
		d.enforce()
	}
}

// enforce finds the limits that are in force, and to whom they apply.
func (d *demand) enforce() {
	d.limits = nil
	for _, s := range d.sources {
		s.limits = nil
	}
	for _, l := range d.allLimits {
		if !l.limited {
			continue
		}
		d.limits = append(d.limits, l)
		for _, s := range l.members {
			s.limits = append(s.limits, l)
		}
	}
}

// started notes that a handler of s starts.
func (d *demand) started(s *Source, now time.Time) {
	s.started++
	for _, l := range s.limits {
		if l.key.Rate {
			l.starts.add(now)
		}
	}
}

// admits reports whether a job that was asked for at stamp may start: with permits of all
// its pools that were never lost since.
func (s *Source) admits(stamp uint64, now time.Time) bool {
	if s.paused || len(s.limits) > 0 && stamp < s.joined {
		return false
	}
	return !slices.ContainsFunc(s.limits, func(l *limit) bool { return stamp < l.since || l.over(now) })
}

// revoked returns since when a running job that was asked for at stamp has no permit any
// more, zero if it has. A rate limits starts only.
func (s *Source) revoked(stamp uint64, now time.Time) time.Time {
	for _, l := range s.limits {
		switch {
		case l.key.Rate:
		case max(stamp, s.joined) < l.lost:
			return l.lostAt
		case l.valid && l.over(now):
			return l.until
		}
	}
	return time.Time{}
}

// until returns when the permits of s's running jobs end, zero if never.
func (s *Source) until() (first time.Time) {
	for _, l := range s.limits {
		if !l.key.Rate && l.valid && (first.IsZero() || l.until.Before(first)) {
			first = l.until
		}
	}
	return first
}

// free returns how many jobs of s its pools have permits for, as the plan stands.
func (s *Source) free() int {
	n := MaxBatch * (1 + aheadFactor)
	for _, l := range s.limits {
		n = min(n, l.free)
	}
	return n
}

// cover takes n permits for s while a plan is made.
func (s *Source) cover(n int) {
	for _, l := range s.limits {
		l.free -= n
	}
}

// blocked reports whether nothing of s may start, so that others flow past it.
func (s *Source) blocked() bool { return s.paused || s.held || len(s.limits) > 0 && s.free() <= 0 }

// probePause is how often a source without a known backlog is asked while others could
// use the permits that a standing request would cover.
const probePause = time.Second

// prepare counts what the pools have free. A source that nothing is known to wait in leaves
// its permits to those with a backlog, and is now and then asked just for what is there.
func (d *demand) prepare(now time.Time) {
	for _, l := range d.limits {
		l.free = l.room(now)
	}
	for _, s := range d.sources {
		if len(s.limits) > 0 && s.backlog == 0 && s.askable() && now.Sub(s.probed) >= probePause && s.contested() {
			s.probed, s.backlog = now, 1
			s.served = max(s.served, d.now)
		}
	}
}

// contested reports whether another source could use a permit that s may have.
func (s *Source) contested() bool {
	return slices.ContainsFunc(s.limits, func(l *limit) bool {
		return slices.ContainsFunc(l.members, func(m *Source) bool {
			return m != s && m.open && !m.paused && m.backlog > uint64(m.asked) &&
				!slices.ContainsFunc(m.limits, func(q *limit) bool { return q != l && q.free <= 0 })
		})
	})
}

// crowded reports whether a standing request of s covers a permit that others wait to
// cover with theirs.
func (s *Source) crowded() bool {
	return slices.ContainsFunc(s.limits, func(l *limit) bool { return len(l.members) > l.permits })
}

// wakeAt returns when there is something to plan though nothing has happened, zero if never.
func (d *demand) wakeAt() (first time.Time) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if d.stopped {
		return first
	}
	for _, l := range d.limits {
		if l.key.Rate && l.free <= 0 {
			sooner(l.starts.next())
		}
	}
	for _, s := range d.sources {
		if len(s.limits) > 0 && s.backlog == 0 && s.askable() && s.contested() {
			sooner(s.probed.Add(probePause))
		}
	}
	return first
}

// full reports whether all permits of a limit that s belongs to are used by jobs that have
// started.
func (s *Source) full(now time.Time) bool {
	return slices.ContainsFunc(s.limits, func(l *limit) bool { return l.full(now) })
}
