package tally

import (
	"cmp"
	"slices"
	"time"
)

// A By says what a line of a series is of.
type By string

// The kinds of lines.
const (
	ByAll   By = ""      // one line
	ByQueue By = "queue" // one for each queue
	ByType  By = "type"  // one for each type, of whatever queue
	ByPair  By = "pair"  // one for each type of each queue
)

// A Span says which time a series is of, and in what steps.
type Span struct {
	From  time.Time // the beginning of the first step
	Until time.Time // the end of the last
	Step  time.Duration
}

// Steps returns how many steps it has.
func (s Span) Steps() int { return int(s.Until.Sub(s.From) / s.Step) }

// At returns the beginning of step i.
func (s Span) At(i int) time.Time { return s.From.Add(time.Duration(i) * s.Step) }

// index returns the step that has a time, and whether any has.
func (s Span) index(at time.Time) (int, bool) {
	if at.Before(s.From) || !at.Before(s.Until) {
		return 0, false
	}
	return int(at.Sub(s.From) / s.Step), true
}

// A Series is what happened over some time.
type Series struct {
	Span
	Lines   []*Line    // sorted by queue and type
	Backlog []*Backlog // by step; nil where nobody looked

	by   By
	keep func(Pair) bool
}

// A Line is what happened to some of the jobs.
type Line struct {
	Pair           // whose; empty parts stand for all
	Total  Counts  // of all steps
	Points []Point // by step
}

// A Point is what happened in one step, nil if nothing did.
type Point struct{ *Counts }

// NewSeries returns a series without anything, with lines by what by says of the pairs that keep
// wants; nil: of all.
func NewSeries(span Span, by By, keep func(Pair) bool) *Series {
	if keep == nil {
		keep = func(Pair) bool { return true }
	}
	return &Series{Span: span, Backlog: make([]*Backlog, span.Steps()), by: by, keep: keep}
}

// Add adds what a record has of the time of the series. What of a period that is longer than a step
// it has is all in the step in which the period begins.
func (s *Series) Add(r *Record) {
	for _, p := range r.Periods {
		i, within := s.index(p.At)
		if !within {
			continue
		}
		for pair, c := range p.Sums {
			if s.keep(pair) {
				s.line(pair).add(i, c)
			}
		}
		if p.Backlog != nil {
			if s.Backlog[i] == nil {
				s.Backlog[i] = new(Backlog)
			}
			s.Backlog[i].Add(p.Backlog)
		}
	}
}

// Of returns what a series by pair has of some pairs, with lines by what by says.
func (s *Series) Of(by By, keep func(Pair) bool) *Series {
	out := NewSeries(s.Span, by, keep)
	for _, l := range s.Lines {
		if !keep(l.Pair) {
			continue
		}
		for i, p := range l.Points {
			if p.Counts != nil {
				out.line(l.Pair).add(i, p.Counts)
			}
		}
	}
	for i, b := range s.Backlog {
		if b != nil {
			out.Backlog[i] = b.of(keep)
		}
	}
	return out
}

// line returns the line of a pair, a new one at first.
func (s *Series) line(p Pair) *Line {
	switch s.by {
	case ByAll:
		p = Pair{}
	case ByQueue:
		p.Type = ""
	case ByType:
		p.Queue = ""
	case ByPair:
	}
	i, found := slices.BinarySearchFunc(s.Lines, p, func(l *Line, p Pair) int {
		return cmp.Or(cmp.Compare(l.Queue, p.Queue), cmp.Compare(l.Type, p.Type))
	})
	if !found {
		s.Lines = slices.Insert(s.Lines, i, &Line{Pair: p, Points: make([]Point, s.Steps())})
	}
	return s.Lines[i]
}

func (l *Line) add(step int, c *Counts) {
	l.Total.Add(c)
	if l.Points[step].Counts == nil {
		l.Points[step].Counts = new(Counts)
	}
	l.Points[step].Add(c)
}
