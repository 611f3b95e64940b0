package slots

import (
	"cmp"
	"slices"
	"time"
)

// A Limiter is this node's part of a limit that all nodes share, as whoever speaks with the
// other nodes sets it. Until its first Allow or Lose there is no limit. Its methods do not
// block, and those that free something have it used before they return; none of them makes a
// permit that Allow has not given.
type Limiter interface {
	// Allow says how many permits may be used, and until when, by the larger of the wall
	// clock and the monotonic one: past that nothing starts that needs one, and what runs on
	// one is told to stop. To renew permits, say the same again with a later time. If
	// there are fewer than are used, those that fall free are not used again. The first call
	// makes a limit: what runs then counts as used, and runs on; what is in hand and has not
	// started is handed back.
	Allow(permits int, until time.Time)
	// Use returns how many permits are used, by runs, jobs in hand and waiting pulls, and of a
	// rate by the starts of the last period as well; how many are needed by these except for
	// waiting pulls, and by jobs that are known to wait, even if there are more than could be
	// used; and how many could be used, which is what is used and one for each free slot.
	Use() (used, need, want int)
	// Lift ends the limit, until the next Allow.
	Lift()
	// Lose takes all permits away: nothing starts until the next Allow. Jobs that run on a
	// permit of a quota are told to stop; those of a rate had it for their start.
	Lose()
}

// Limiter returns the limiter of a key. Of a rate, it sets the period, which must have been
// set before the first Allow.
func (s *Slots) Limiter(key Key, period time.Duration) Limiter {
	l := s.limit(key)
	if key.Rate {
		s.update(func(*demand) { l.starts.period = period })
	}
	return l
}

// forever is longer than any worker runs.
const forever = 100 * 365 * 24 * time.Hour

// Cap has at most this many jobs of a queue run here at once, beside the limits that all nodes
// share. It is set before the queue's sources are opened.
func (s *Slots) Cap(queue string, jobs int) {
	s.limit(Key{Kind: ofQueueHere, Name: queue}).Allow(jobs, time.Now().Add(forever))
}

func (s *Slots) limit(key Key) *limit {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.limits[key]; ok {
		return l
	}
	l := &limit{slots: s, key: key}
	s.limits[key] = l
	s.demand.allLimits = append(s.demand.allLimits, l)
	for _, source := range s.demand.sources {
		if s.matches(source, key) {
			s.demand.join(source, l)
		}
	}
	return l
}

// SetKey has the jobs of a type belong to the limits of a key, and to no other key's; to
// none if key is empty.
func (s *Slots) SetKey(typ, key string) {
	s.update(func(d *demand) {
		s.keys[typ] = key
		for _, source := range d.sources {
			for _, l := range d.allLimits {
				if s.matches(source, l.key) {
					d.join(source, l)
				} else {
					d.leave(source, l)
				}
			}
		}
	})
}

// matches reports whether the jobs of a source belong to a limit.
func (s *Slots) matches(source *Source, key Key) bool {
	switch key.Kind {
	case OfType:
		return source.typ == key.Name
	case OfQueue, ofQueueHere:
		return source.queue == key.Name
	case OfKey:
		return key.Name != "" && s.keys[source.typ] == key.Name
	}
	return false
}

// Allow implements [Limiter].
func (l *limit) Allow(permits int, until time.Time) {
	l.slots.update(func(d *demand) { d.allow(l, permits, until, time.Now()) })
	wake(l.slots.wakeWatch)
}

// Use implements [Limiter].
func (l *limit) Use() (used, need, want int) {
	l.slots.mu.Lock()
	defer l.slots.mu.Unlock()
	now, d := time.Now(), &l.slots.demand
	return l.used(now), d.need(l, now), d.want(l, now)
}

// A PermitUse is what this node does with its permits of a limit.
type PermitUse struct {
	Key     Key
	Permits int    // that it has; 0 also if it lost them
	Used    int    // of these, or more while those above the limit end
	Want    int    // as [Limiter] has it
	Stops   uint64 // jobs that were told to stop so far, since their permit was lost
}

// Permits returns what this node does with those of each limit in force, sorted.
func (s *Slots) Permits() (all []PermitUse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, d := time.Now(), &s.demand
	for _, l := range d.allLimits {
		if !l.limited || l.key.Kind == ofQueueHere {
			continue
		}
		use := PermitUse{Key: l.key, Used: l.used(now), Want: d.want(l, now), Stops: l.stops}
		if !l.over(now) {
			use.Permits = l.permits
		}
		all = append(all, use)
	}
	slices.SortFunc(all, func(a, b PermitUse) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	return all
}

// Lift implements [Limiter].
func (l *limit) Lift() { l.slots.update(func(d *demand) { d.lift(l) }) }

// Lose implements [Limiter].
func (l *limit) Lose() {
	l.slots.update(func(d *demand) { d.lose(l, time.Now()) })
	wake(l.slots.wakeWatch)
}
