package problem

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// maxSigns is how many signs a look notes for the next one.
const maxSigns = 200

// A sign is something that is a problem if it lasts for long enough.
type sign struct {
	code    Code
	level   Level // empty: that of the code
	subject string
	since   time.Time     // as the facts tell; zero: they do not
	lasts   time.Duration // to be a problem; 0: it is one at once
	about   string
	is      string
	advice  *Advice
}

// Decide returns what is wrong.
func Decide(f *Facts) *Report {
	d := &decision{Facts: f, counted: f.count(), report: &Report{At: f.at(), Problems: []Problem{}}}
	d.known()
	d.waiting()
	d.ends()
	d.workers()
	d.settings()
	d.broker()
	d.conclude()
	return d.report
}

// A decision is a report that is being made.
type decision struct {
	*Facts
	counted *counted
	report  *Report
	signs   []sign

	workersKnown, countsKnown bool
}

func (d *decision) say(s sign) { d.signs = append(d.signs, s) }

// known notes what of the facts can be built on, and what is left out for want of it.
func (d *decision) known() {
	s := d.Snapshot
	d.workersKnown = !d.lacks(view.MissingRegistry)
	if !d.workersKnown {
		d.unknown("the registry does not answer: who works, and what is paused and limited", NoWorker, Stalled, NotPulled, UnclaimedInHand, PausedLong, QuotaIdle, Stuck, Rebuilt, Clock, Versions, StatsGap, DrainLong, Unserved)
	}
	d.countsKnown = !d.counted.until.IsZero() && d.at().Sub(d.counted.until) <= gapAfter
	byCounts := []Code{Stalled, Dying, Failing, Lost, ScheduleLate}
	switch {
	case d.MinutesErr != nil:
		d.countsKnown = false
		d.unknown("statistics cannot be read: "+d.MinutesErr.Error(), append(byCounts, StatsGap)...)
	case d.countsKnown:
	case !d.workersKnown || d.counting():
		d.unknown("there are no statistics of the last minutes", byCounts...)
	case slices.ContainsFunc(s.Workers, func(n registry.Node) bool { return !n.NoStats && n.ByType != nil }):
		d.unknown("the first minute of statistics is not over", byCounts...)
	case len(s.Workers) > 0:
		d.unknown("the workers keep no statistics", byCounts...)
	}
	for _, m := range s.Missing {
		if strings.HasPrefix(m.What, "consumers of queue ") {
			d.unknown(m.What+": "+m.Why, NoWorker, NotPulled, Late, UnclaimedInHand)
		}
	}
}

func (d *decision) unknown(why string, codes ...Code) {
	d.report.Unknown = append(d.report.Unknown, Gap{Codes: codes, Why: why})
}

// conclude makes problems of the signs that have lasted for long enough.
func (d *decision) conclude() {
	before := d.before()
	for _, s := range d.signs {
		then := before[key{s.code, s.subject}]
		delete(before, key{s.code, s.subject})
		if !then.Gone.IsZero() {
			then.Since = time.Time{} // it has begun anew
		}
		since := s.sinceWith(then)
		isProblem := s.lasts == 0 || !since.IsZero() && d.at().Sub(since) >= s.lasts
		if isProblem || s.since.IsZero() || !then.Told.IsZero() { // else the next look sees since when it is so
			d.report.Signs = append(d.report.Signs, tally.Sign{
				Code: string(s.code), Subject: s.subject, Since: orAt(since, d.at()), Problem: isProblem, Told: then.Told, ToldEnd: then.ToldEnd,
			})
		}
		switch {
		case isProblem:
			d.report.Problems = append(d.report.Problems, s.problem(since))
			if !then.Problem {
				d.report.Begun = append(d.report.Begun, s.problem(since))
			}
		case then.Problem:
			d.report.Over = append(d.report.Over, then)
		}
	}
	for _, s := range before {
		if s.Problem && !d.isUnknown(Code(s.Code)) {
			d.report.Over = append(d.report.Over, s)
		}
		if d.isToBeNoted(&s) {
			d.report.Signs = append(d.report.Signs, s)
		}
	}
	slices.SortStableFunc(d.report.Problems, worst)
	slices.SortStableFunc(d.report.Begun, worst)
	slices.SortStableFunc(d.report.Over, func(a, b tally.Sign) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject))
	})
	slices.SortStableFunc(d.report.Signs, func(a, b tally.Sign) int { // those that are left out are no problems, if possible
		return cmp.Or(boolCompare(b.Problem, a.Problem), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject))
	})
	d.report.Signs = d.report.Signs[:min(len(d.report.Signs), maxSigns)]
}

// worst is the order of problems.
func worst(a, b Problem) int {
	return cmp.Or(cmp.Compare(slices.Index(Levels(), a.Level), slices.Index(Levels(), b.Level)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Subject, b.Subject))
}

// isUnknown reports whether problems of a code could not be looked for.
func (d *decision) isUnknown(c Code) bool {
	return slices.ContainsFunc(d.report.Unknown, func(g Gap) bool { return slices.Contains(g.Codes, c) })
}

// sinceWith is since when it is so, with what the last look noted. What is no problem yet may have begun
// anew since then, and the facts tell so.
func (s *sign) sinceWith(then tally.Sign) time.Time {
	if s.lasts > 0 && !s.since.IsZero() {
		return s.since
	}
	return earlier(s.since, then.Since)
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

type key struct {
	code    Code
	subject string
}

// before are the signs that the last look of a minute saw, unless that is too long ago: what was there
// in between is not known then.
func (d *decision) before() map[key]tally.Sign {
	signs := make(map[key]tally.Sign)
	for _, s := range LastSigns(d.Minutes, d.at()) {
		signs[key{Code(s.Code), s.Subject}] = s
	}
	return signs
}

// LastSigns returns the signs of the last minute that has been summed up, none if that is long ago.
func LastSigns(minutes []*tally.Record, at time.Time) []tally.Sign {
	for _, r := range slices.Backward(minutes) {
		if at.Sub(r.At.Add(minute)) > gapAfter {
			return nil
		}
		for _, p := range r.Periods {
			if p.At.Equal(r.At) && p.Backlog != nil {
				return p.Backlog.Signs
			}
		}
	}
	return nil
}

func (s *sign) problem(since time.Time) Problem {
	k := kindOf(s.code)
	p := Problem{
		ID: k.ID, Code: s.code, Level: cmp.Or(s.level, k.Level), Subject: s.subject, Since: since.UTC(), Advice: s.advice,
		About: s.about, Is: s.is, Text: s.about + ": " + s.is,
	}
	if since.IsZero() {
		p.Since = time.Time{}
	}
	return p
}

// earlier is the earlier of two times, of which one may not be known.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// later is the later of two times.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func orAt(since, at time.Time) time.Time {
	if since.IsZero() {
		return at.UTC()
	}
	return since.UTC()
}

func command(text, format string, args ...any) *Advice {
	return &Advice{Text: text, Command: fmt.Sprintf(format, args...)}
}
