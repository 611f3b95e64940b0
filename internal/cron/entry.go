package cron

import "time"

// An Overlap says what becomes of a tick whose time comes while the job of an earlier one is
// alive.
type Overlap string

// The overlaps.
const (
	SkipOverlap  Overlap = "skip" // no job: all ticks have one id, so the broker refuses it
	AllowOverlap Overlap = "allow"
)

// A CatchUp says what becomes of a tick whose job starts too late.
type CatchUp string

// The catch-ups.
const (
	CatchUpSkip CatchUp = "skip" // it is missed
	CatchUpOne  CatchUp = "one"  // the latest one runs, the others are missed
	CatchUpAll  CatchUp = "all"  // it runs
)

// DefaultGrace is how late a tick may start without being late.
const DefaultGrace = time.Minute

// An Entry says when jobs are enqueued, and which ticks count.
type Entry struct {
	Name     string
	Schedule Schedule
	Overlap  Overlap
	CatchUp  CatchUp
	Grace    time.Duration // a tick that starts more than this after its time is late

	Rev     uint64    // its revision, which grows with each edit
	Edited  time.Time // when this revision was made, by the broker's clock
	Removed bool      // the revision is its end: of the fields above only Name is set
}

// Check returns an [*InvalidError] that names the rule which e breaks, if any.
func (e Entry) Check() error {
	switch {
	case e.Overlap != SkipOverlap && e.Overlap != AllowOverlap:
		return &InvalidError{What: "overlap", Name: string(e.Overlap), Rule: "want skip or allow"}
	case e.CatchUp != CatchUpSkip && e.CatchUp != CatchUpOne && e.CatchUp != CatchUpAll:
		return &InvalidError{What: "catch_up", Name: string(e.CatchUp), Rule: "want skip, one or all"}
	case e.CatchUp == CatchUpAll && e.Overlap == SkipOverlap:
		return &InvalidError{What: "catch_up all:", Rule: "needs overlap allow"}
	case e.Grace < 0:
		return &InvalidError{What: "grace", Name: e.Grace.String(), Rule: "must not be negative; 1m is the default"}
	}
	return nil
}

// A Verdict is what becomes of a tick's job that is about to start for the first time.
type Verdict int

// The verdicts.
const (
	Runs       Verdict = iota
	Missed             // it is too late
	Superseded         // the entry was edited or removed before the tick's time
)

// A Tick is one as its job has it.
type Tick struct {
	Rev uint64    // of the entry that it was published for
	At  time.Time // by the schedule
	Due time.Time // when its job was due: later than At if somebody moved it
}

// Judge decides about a tick at now. It does not matter why the tick comes when it does.
func (e Entry) Judge(t Tick, now time.Time) Verdict {
	due := t.At
	if t.Due.After(due) {
		due = t.Due
	}
	switch {
	case t.Rev > e.Rev: // whoever published it knows more
		return Runs
	case t.Rev < e.Rev && t.At.After(e.Edited):
		return Superseded
	case e.Removed, !e.late(due, now):
		return Runs
	}
	return Missed
}

// late reports whether a tick that is due at a time and starts now is too late to run.
func (e Entry) late(due, now time.Time) bool {
	if now.Sub(due) <= e.Grace {
		return false
	}
	switch e.CatchUp {
	case CatchUpAll:
		return false
	case CatchUpOne:
		return !e.latest(due, now)
	case CatchUpSkip:
	}
	return true
}

// latest reports whether no tick of this revision has come since a time.
func (e Entry) latest(due, now time.Time) bool {
	if due.Before(e.Edited) {
		due = e.Edited
	}
	next := e.Schedule.Next(due)
	return next.IsZero() || next.After(now)
}
