package problem

import (
	"slices"
	"time"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// Facts are what problems follow from.
type Facts struct {
	Snapshot *view.Snapshot
	Server   stream.Server // that was asked

	Minutes    []*tally.Record // the sums of the last minutes that are stored, oldest first
	Made       *tally.Record   // what was counted since the last of them; nil: not known
	MinutesErr error           // why they could not be read

	// Past is what ran in the last day, for jobs that take longer than a few minutes; nil: nobody asked.
	Past map[tally.Pair]*stats.Past

	Account    *Account // nil: not known
	Objectives Objectives
}

// An Account is what the broker's account stores, and may.
type Account struct{ Used, Limit int64 } // bytes; a limit of 0 or less is none, or the server's, which does not say

// Objectives say how long a job may be ready in each queue before that is late. What they leave out the
// workers say.
type Objectives map[string]time.Duration

// DefaultObjective is that of queues of which nothing is said.
const DefaultObjective = 5 * time.Minute

// Of returns that of a queue. Of workers that do not agree the one that started last counts.
func (o Objectives) Of(queue string, workers []registry.Node) time.Duration {
	if d := o[queue]; d > 0 {
		return d
	}
	objective, started := DefaultObjective, time.Time{}
	for i := range workers {
		n := &workers[i]
		if d := time.Duration(n.Objectives[queue] * float64(time.Second)); d > 0 && n.Started.After(started) {
			objective, started = d, n.Started
		}
	}
	return objective
}

// Bounds of the sums of minutes.
const (
	window    = 10 * time.Minute // what ends are counted over
	lateOver  = 5 * time.Minute  // what lateness is
	gapAfter  = 3 * time.Minute  // without a sum, nobody sums up
	KeepSums  = 13 * time.Minute // how much of them a look needs
	minute    = time.Minute
	pastOver  = 24 * time.Hour // in which it is looked for how long jobs take
	wroteLate = time.Minute    // after its start a worker's first record may be summed up
)

// at is when the facts are of.
func (f *Facts) at() time.Time { return f.Snapshot.At }

// counted are sums of the last minutes.
type counted struct {
	until   time.Time // the end of the last minute that they have; zero: there are none
	all     []*tally.Record
	pairs   tally.Sums               // of the last ten minutes
	lastEnd map[tally.Pair]time.Time // of what ended in them, at the latest
	from    time.Time                // the beginning of what is known
}

// count adds up the last minutes.
func (f *Facts) count() *counted {
	c := &counted{pairs: make(tally.Sums), lastEnd: make(map[tally.Pair]time.Time), all: f.Minutes}
	if f.Made != nil {
		c.all = append(slices.Clip(c.all), f.Made)
	}
	for _, r := range c.all {
		if end := r.At.Add(minute); end.After(c.until) && !r.At.After(f.at()) {
			c.until = end
		}
		if c.from.IsZero() || r.At.Before(c.from) {
			c.from = r.At
		}
	}
	c.pairs = c.since(window)
	for _, r := range c.all {
		for _, p := range r.Periods {
			for pair, n := range p.Sums {
				if end := p.At.Add(minute); n.Ended() > 0 && end.After(c.lastEnd[pair]) {
					c.lastEnd[pair] = end
				}
			}
		}
	}
	return c
}

// since adds up what was counted in so much time before the end.
func (c *counted) since(d time.Duration) tally.Sums {
	sums := make(tally.Sums)
	for _, r := range c.all {
		for _, p := range r.Periods {
			if !p.At.Before(c.until.Add(-d)) && p.At.Before(c.until) {
				sums.AddAll(p.Sums)
			}
		}
	}
	return sums
}

// byType adds up queues.
func byType(all tally.Sums) map[string]*tally.Counts {
	types := make(map[string]*tally.Counts)
	for p, c := range all {
		if types[p.Type] == nil {
			types[p.Type] = new(tally.Counts)
		}
		types[p.Type].Add(c)
	}
	return types
}

// lacks reports whether a part of the snapshot could not be read.
func (f *Facts) lacks(what string) bool {
	for _, m := range f.Snapshot.Missing {
		if m.What == what {
			return true
		}
	}
	return false
}
