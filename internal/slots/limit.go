package slots

import (
	"slices"
	"time"
)

// limit is this node's part of a limit that all nodes share. A source is asked for no more jobs
// than there are free permits in each limit that it belongs to. A job uses a permit from the time
// when it is asked for: of a quota until its handler has returned, of a rate until a period after
// its handler's start.
type limit struct {
	slots   *Slots
	key     Key
	members []*Source
	limited bool // it is in force

	valid   bool // there are permits, until
	permits int
	until   time.Time
	since   uint64 // demand.epoch when there were permits first, or again
	lost    uint64 // demand.epoch when they were lost last
	lostAt  time.Time
	stops   uint64 // jobs that were told to stop since their permit was lost

	starts window // of a rate
	index  int    // in demand.limits, while it is in force
}

// over reports whether the permits cannot be used any more: they may be another node's.
func (l *limit) over(now time.Time) bool { return !l.valid || Elapsed(l.until, now) >= 0 }

// running returns how many jobs hold a permit, those in hand and those whose handlers were given up.
func (l *limit) running() (n int) {
	for _, s := range l.members {
		if l.ofCalls(s) {
			n += s.taken() + s.stuckCalls
		} else {
			n += s.inHand + s.stuck
		}
	}
	return n
}

// used returns how many permits are used.
func (l *limit) used(now time.Time) (n int) {
	for _, s := range l.members {
		if l.ofCalls(s) {
			n += s.needs(s.asked) + s.taken() + s.stuckCalls
			continue
		}
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

// full reports whether all permits are used by jobs that have started. A job that was asked for
// when there were more permits does not start then.
func (l *limit) full(now time.Time) bool {
	n := 0
	for _, s := range l.members {
		if l.ofCalls(s) {
			n += s.calls + s.stuckCalls
		} else {
			n += s.started + s.stuck
		}
	}
	if l.key.Rate {
		n = l.starts.count(now)
	}
	return n >= l.permits
}

// room returns how many permits are free.
func (l *limit) room(now time.Time) int {
	used := l.used(now) // counted in any case, so that old starts are forgotten
	if l.over(now) {
		return 0
	}
	return max(l.permits-used, 0)
}

// allow sets the permits of l until the given time. The first ones make it a limit: jobs
// asked for before have none.
func (d *demand) allow(l *limit, permits int, until, now time.Time) {
	if l.valid && l.over(now) {
		d.lose(l, now)
	}
	if !l.limited {
		l.limited = true
		d.epoch++
		l.since = d.epoch
		d.enforce()
	}
	l.permits, l.until, l.valid = permits, until, true
}

// lose takes all permits away. Jobs that run on one are to stop.
func (d *demand) lose(l *limit, now time.Time) {
	if !l.limited {
		l.limited = true
		d.enforce()
	}
	d.epoch++
	l.lostAt = now
	if l.valid && Elapsed(l.until, now) > 0 {
		l.lostAt = l.until
	}
	l.since, l.lost = d.epoch, d.epoch
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
		d.epoch++
		s.joined = d.epoch
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
		l.index = len(d.limits)
		d.limits = append(d.limits, l)
		for _, s := range l.members {
			s.limits = append(s.limits, l)
		}
	}
}

// start notes that a job of s that was asked for at stamp starts. It reports false if the job may
// not: it has no permit, or all permits are used by jobs that have started.
func (s *Source) start(stamp uint64, now func() time.Time) bool {
	if !s.admits(stamp, now) {
		return false
	}
	if len(s.limits) > 0 {
		at := now()
		if slices.ContainsFunc(s.limits, func(l *limit) bool { return !l.ofCalls(s) && l.full(at) }) {
			return false
		}
		for _, l := range s.limits {
			if l.key.Rate {
				l.starts.add(at)
			}
		}
	}
	s.started++
	return true
}

// admits reports whether a job that was asked for at stamp may start: with permits of all
// its limits that were never lost since. It asks for the time only if there are limits.
func (s *Source) admits(stamp uint64, now func() time.Time) bool {
	switch {
	case s.paused:
		return false
	case len(s.limits) == 0:
		return true
	case stamp < s.joined:
		return false
	}
	at := now()
	return !slices.ContainsFunc(s.limits, func(l *limit) bool { return stamp < l.since || l.over(at) })
}

// revoked returns since when a running job that was asked for at stamp has lacked a permit, zero if
// it has all it needs. A rate limits starts only.
func (s *Source) revoked(stamp uint64, now time.Time) (since time.Time, by *limit) {
	for _, l := range s.limits {
		switch {
		case l.key.Rate:
		case max(stamp, s.joined) < l.lost:
			return l.lostAt, l
		case l.valid && l.over(now):
			return l.until, l
		}
	}
	return time.Time{}, nil
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

// crowded reports whether a standing request of s uses a permit that the request of another source
// waits for.
func (s *Source) crowded() bool {
	return slices.ContainsFunc(s.limits, func(l *limit) bool { return len(l.members) > l.permits })
}
