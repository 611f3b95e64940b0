package main

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millhand/millhand"
)

// demoCounts is what the demo knows of its jobs. Its methods may be called from any goroutine.
type demoCounts struct {
	mu    sync.Mutex
	types map[string]*typeCounts
	total int // jobs
	ended int
	start time.Time
	end   time.Time // of the last job
	runs  []span    // from the start of a run to its end, of a first run from the enqueue
}

type typeCounts struct {
	enqueued, succeeded, retried, dead int

	waits     []time.Duration // from enqueue to the start of the first run
	lastError string          // of a dead job
}

type span struct{ from, to time.Time }

func newDemoCounts(plans []demoPlan) *demoCounts {
	c := &demoCounts{types: make(map[string]*typeCounts), start: time.Now()}
	for _, p := range plans {
		c.types[p.typ] = &typeCounts{enqueued: p.count}
		c.total += p.count
	}
	return c
}

// add counts an event, and reports whether it was that of the last job's end.
func (c *demoCounts) add(e millhand.Event) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.types[e.Type]
	if !ok {
		return false
	}
	ready := e.StartedAt
	if e.Attempt == 1 {
		ready = e.EnqueuedAt
		t.waits = append(t.waits, e.StartedAt.Sub(e.EnqueuedAt))
	}
	c.runs = append(c.runs, span{ready, e.Time})
	switch e.State { //nolint:exhaustive // the others are not in the table
	case millhand.Succeeded:
		t.succeeded++
	case millhand.Retrying:
		t.retried++
	case millhand.Dead:
		t.dead++
		t.lastError = e.Error
	}
	if e.State.Final() {
		c.ended++
		c.end = time.Now()
	}
	return c.ended == c.total
}

// clone returns the counts as they are now.
func (c *demoCounts) clone() *demoCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := &demoCounts{
		total: c.total, ended: c.ended, start: c.start, end: c.end, runs: slices.Clone(c.runs), types: maps.Clone(c.types),
	}
	for name, t := range now.types {
		own := *t
		own.waits = slices.Clone(t.waits)
		now.types[name] = &own
	}
	return now
}

// all is the sum of the types.
func (c *demoCounts) all() *typeCounts {
	var sum typeCounts
	for _, t := range c.types {
		sum.enqueued += t.enqueued
		sum.succeeded += t.succeeded
		sum.retried += t.retried
		sum.dead += t.dead
		sum.waits = append(sum.waits, t.waits...)
	}
	return &sum
}

// elapsed is how long it took from the first enqueue to the last end.
func (c *demoCounts) elapsed() time.Duration { return c.end.Sub(c.start) }

// busy is how long at least one job ran or waited for its first run: the rest of the time all
// that were left waited for their retries.
func (c *demoCounts) busy() time.Duration { return covered(c.runs) }

// covered is how much time the spans cover together.
func covered(spans []span) (sum time.Duration) {
	spans = slices.SortedFunc(slices.Values(spans), func(a, b span) int { return a.from.Compare(b.from) })
	var until time.Time
	for _, s := range spans {
		if s.from.Before(until) {
			s.from = until
		}
		if s.to.After(s.from) {
			sum += s.to.Sub(s.from)
			until = s.to
		}
	}
	return sum
}

// percentile returns 0 of nothing.
func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[(len(all)-1)*p/100]
}
