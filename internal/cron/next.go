package cron

import "time"

// farthest is how far the parser's schedule looks for its next time, a little less than that, and
// leaps is how often it is asked to look on from there: 29 February may be eight years away.
const (
	farthest = 4 * 365 * 24 * time.Hour
	leaps    = 3
)

// Next returns the first tick after t, in UTC, and the zero time if there is none within years.
//
// The time on the wall runs evenly but for a few changes of the zone's offset. What a change
// leaves out or repeats is decided where it happens, at the begin of the span that follows it:
//
//	offset +1       │ offset +2: 02:00 to 03:00 do not exist
//	… 01:58 01:59   │ 03:00 03:01 …
//
//	offset +2       │ offset +1: 02:00 to 03:00 come again
//	… 02:58 02:59   │ 02:00 02:01 …
//
// Ticks that are times of the day come at the change if they were left out, all in one, and not
// again if they are repeated.
func (s Schedule) Next(t time.Time) time.Time {
	if s.fields == nil {
		return s.nextEvery(t)
	}
	last := t.Add(leaps * farthest)
	for sp := spanAt(t, s.zone); ; sp = sp.next() {
		if at := s.nextIn(sp, t); !at.IsZero() {
			return at
		}
		if sp.end.IsZero() || sp.end.After(last) {
			return time.Time{}
		}
	}
}

func (s Schedule) nextEvery(t time.Time) time.Time {
	if t.Before(s.since) {
		t = s.since
	}
	passed := t.Sub(s.since)
	return s.since.Add(passed - passed%s.every + s.every).UTC()
}

// nextIn returns the first tick after t that is in the span, or the zero time.
func (s Schedule) nextIn(sp span, t time.Time) time.Time {
	// Wall times after which a tick counts.
	after := sp.wall(t)
	if begins := !sp.start.IsZero() && t.Before(sp.start); begins {
		after = sp.wall(sp.start).Add(-1)
	}
	if !s.followsClock && !sp.start.IsZero() {
		from, to := sp.start.UTC().Add(sp.before), sp.wall(sp.start)
		if leftOut := s.nextWall(from.Add(-1)); t.Before(sp.start) && !leftOut.IsZero() && leftOut.Before(to) {
			return sp.start.UTC()
		}
		if repeated := from.Add(-1); repeated.After(after) {
			after = repeated
		}
	}
	wall := s.nextWall(after)
	if wall.IsZero() {
		return wall
	}
	at := wall.Add(-sp.offset)
	if !sp.end.IsZero() && !at.Before(sp.end) {
		return time.Time{}
	}
	return at
}

// nextWall returns the first wall time after one, both written as if they were UTC.
func (s Schedule) nextWall(t time.Time) time.Time {
	for range leaps {
		if next := s.fields.Next(t); !next.IsZero() {
			return next
		}
		t = t.Add(farthest)
	}
	return time.Time{}
}

// A span is a time during which a zone's offset from UTC does not change.
type span struct {
	zone           *time.Location
	start, end     time.Time     // zero: for ever
	offset, before time.Duration // in it, and before it
}

func spanAt(t time.Time, zone *time.Location) span {
	t = t.In(zone)
	sp := span{zone: zone, offset: offset(t)}
	sp.before = sp.offset
	sp.start, sp.end = t.ZoneBounds()
	if !sp.start.IsZero() {
		sp.before = offset(sp.start.Add(-1))
	}
	return sp
}

func (sp span) next() span { return spanAt(sp.end, sp.zone) }

// wall is what a clock shows at t by the span's offset, as if it were UTC.
func (sp span) wall(t time.Time) time.Time { return t.UTC().Add(sp.offset) }

func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}
