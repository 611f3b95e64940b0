package cron

import (
	"iter"
	"slices"
	"strconv"
	"time"
)

const (
	horizon  = 10 * time.Second // up to which ticks are published ahead
	refill   = 5 * time.Second  // a tick is published this long before it is due, or earlier
	maxTicks = 100              // that are published at once, and made up for after an outage
	maxCount = 100_000          // ticks that nobody published are counted up to here
	maxAhead = 3 * time.Hour    // a clock that was put back by no more than this has no tick twice
)

// A Cursor is how far an entry has come in a queue.
type Cursor struct {
	Rev  uint64    `json:"rev"`  // of the entry
	Last time.Time `json:"last"` // the last tick that was published or given up

	Missed    int       `json:"missed,omitempty"` // ticks that nobody published in time
	MissedAt  time.Time `json:"missed_at,omitzero"`
	Skipped   int       `json:"skipped,omitempty"` // ticks that an earlier one was in the way of
	SkippedAt time.Time `json:"skipped_at,omitzero"`

	Ahead []Published `json:"ahead,omitempty"` // whose time had not come
}

// Credible reports whether a cursor can be what somebody has just made who knows e and the time as it is:
// no tick is published before its turn.
func (e Entry) Credible(c Cursor, now time.Time) bool {
	return c.Rev == e.Rev && (!c.Last.After(now.Add(horizon)) || !c.Last.After(e.Schedule.Next(now)))
}

// Holds reports whether e goes on from a cursor of its own revision. It does not from one that is hours
// ahead of the time, as after a broker's clock was wrong for a moment: no tick would come until then.
func (e Entry) Holds(c Cursor, now time.Time) bool {
	return e.Credible(c, now.Add(maxAhead))
}

// Mended is the cursor that e goes on from instead of one which does not hold, or is of a revision that is
// yet to come. All ticks up to onItsWay are taken for published, but for those after the last one.
func (e Entry) Mended(c Cursor, onItsWay time.Time) Cursor {
	last := c.Last
	if last.IsZero() || last.After(onItsWay) {
		last = onItsWay
	}
	if last.Before(e.Edited) {
		last = e.Edited
	}
	c.Rev, c.Last, c.Ahead = e.Rev, last, nil
	return c
}

// A Published is a tick with its job.
type Published struct {
	Type string    `json:"type"`
	ID   string    `json:"id"`
	At   time.Time `json:"at"`
}

// ID returns the id of the job of a tick.
func (e Entry) ID(tick time.Time) string {
	if e.Overlap == SkipOverlap {
		return e.Name
	}
	return e.Name + "-" + strconv.FormatInt(tick.Unix(), 10)
}

// from is the time after which e's ticks are to be published.
func (e Entry) from(c Cursor) time.Time {
	if c.Rev == e.Rev {
		return c.Last
	}
	return e.Edited
}

// Wake returns when ticks of e are to be published next, and the first of them, given the cursor
// of its queue, the zero one if there is none. It returns false if e has no tick to come.
func (e Entry) Wake(c Cursor) (at, first time.Time, ok bool) {
	from := e.from(c)
	first = e.Schedule.Next(from)
	if e.Removed || first.IsZero() {
		return time.Time{}, time.Time{}, false
	}
	at = from // the next tick, once the one before has passed
	if early := first.Add(-refill); e.Overlap == AllowOverlap && early.Before(at) {
		at = early
	}
	return at, first, true
}

// A Plan is what is to be written about an entry.
type Plan struct {
	Ticks  []time.Time // that jobs are to be published of, oldest first
	Missed int         // ticks that are given up, as far as counted
	Last   time.Time   // the newest tick of both
}

// Plan decides about the ticks that are to be published at now: those whose time has come and that
// are not too late, and those to come soon, the next one at least. With overlap skip it is one tick
// at a time.
func (e Entry) Plan(c Cursor, now time.Time) Plan {
	from := e.from(c)
	p := Plan{Last: from}
	due, older := e.due(from, now)
	p.Missed = older
	for _, t := range due {
		if e.late(t, now) {
			p.Missed++
		} else {
			p.Ticks = append(p.Ticks, t)
		}
		p.Last = t
	}
	if n := len(p.Ticks); e.Overlap == SkipOverlap && n > 0 {
		p.Missed += n - 1
		p.Ticks = p.Ticks[n-1:]
		return p
	}
	for _, t := range e.ahead(p.Last, now, maxTicks-len(p.Ticks)) {
		p.Ticks = append(p.Ticks, t)
		p.Last = t
	}
	return p
}

// due returns the newest ticks after one time and up to now, at most [maxTicks], and how many older
// ones there are.
func (e Entry) due(from, now time.Time) (newest []time.Time, older int) {
	newest, start := e.newest(from, now, maxTicks)
	for range e.ticks(from, start) {
		if older++; older == maxCount {
			break
		}
	}
	if extra := len(newest) - maxTicks; extra > 0 {
		older += extra
		newest = newest[extra:]
	}
	return newest, older
}

// newest returns all ticks after start and up to now: those after one time or, if these are many, at
// least so many of them.
func (e Entry) newest(from, now time.Time, most int) (ticks []time.Time, start time.Time) {
	for back := time.Hour; ; back *= 2 { // most often there is one or none
		start = now.Add(-back)
		if !start.After(from) {
			start = from
		}
		ticks = slices.Collect(e.ticks(start, now))
		if len(ticks) >= most || start.Equal(from) {
			return ticks, start
		}
	}
}

// ahead returns the ticks after one time that are to be published before they are due.
func (e Entry) ahead(last, now time.Time, most int) (ticks []time.Time) {
	for t := e.Schedule.Next(last); !t.IsZero() && len(ticks) < most; t = e.Schedule.Next(t) {
		if len(ticks) > 0 && (e.Overlap == SkipOverlap || t.After(now.Add(horizon))) {
			break
		}
		ticks = append(ticks, t)
	}
	return ticks
}

// ticks yields the ticks after one time and up to another.
func (e Entry) ticks(from, until time.Time) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for t := e.Schedule.Next(from); !t.IsZero() && !t.After(until); t = e.Schedule.Next(t) {
			if !yield(t) {
				return
			}
		}
	}
}

// Around returns the last tick of this revision that has come and been decided about, the zero time
// if there was none, and the next one that is to come.
func (e Entry) Around(c Cursor, now time.Time) (last, next time.Time) {
	decided := now
	if c.Rev != e.Rev {
		decided = e.Edited
	} else if c.Last.Before(now) {
		decided = c.Last
	}
	if ticks, _ := e.newest(e.Edited, decided, 1); len(ticks) > 0 {
		last = ticks[len(ticks)-1]
	}
	return last, e.Schedule.Next(now)
}
