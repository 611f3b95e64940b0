package answer

import (
	"time"

	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// RateOver is how far back what is "per second" goes at least: so far that two minutes were summed up, which
// what arrives takes.
const RateOver = 3 * time.Minute

// A Rate is what ended in a second, on average of the last minutes.
type Rate struct {
	Ended     float64  `json:"ended"`
	Succeeded float64  `json:"succeeded"`
	Failed    float64  `json:"failed"` // runs that are tried again
	Dead      float64  `json:"dead"`
	Arrived   *float64 `json:"arrived,omitempty"`    // jobs that came, of queues and all; left out where that is not known
	WaitP50   *float64 `json:"wait_p50_s,omitempty"` // how long jobs were ready before they started
	WaitP95   *float64 `json:"wait_p95_s,omitempty"`
	RunP50    *float64 `json:"run_p50_s,omitempty"` // how long runs took
	RunP95    *float64 `json:"run_p95_s,omitempty"`
}

// A Queue is a queue with what ends in it.
type Queue struct {
	view.Queue
	Rate    *Rate   `json:"per_second,omitempty"`
	EmptyIn EmptyIn `json:"empty_in"`
}

// A Type is a type in a queue with what ends of it.
type Type struct {
	view.Type
	Rate        *Rate       `json:"per_second,omitempty"`
	EmptyIn     EmptyIn     `json:"empty_in"`
	QueuePaused bool        `json:"queue_paused,omitempty"`
	Full        []FullLimit `json:"full,omitempty"` // limits that keep those that are ready from starting
}

// Rates are those of queues and types. Nil are those of workers that keep no statistics.
type Rates struct {
	Over time.Duration // what was counted

	counts  map[tally.Pair]*tally.Counts // a part that is empty stands for all
	samples []sample                     // of what waited, the oldest first
	arrived map[string]float64           // jobs a second, by queue; "" is all; nil: not known
	keep    func(tally.Pair) bool        // nil: all
}

// A sample is what waited at a moment.
type sample struct {
	at time.Time
	*tally.Backlog
}

// sampledAfter is how long after the minute that it is kept with a sample is taken: when that is summed up.
const sampledAfter = time.Minute + 12*time.Second

// RatesOf are the rates of a series by pair that was read at a time, nil if nothing was counted.
func RatesOf(s *tally.Series, at time.Time) *Rates {
	if len(s.Lines) == 0 {
		return nil
	}
	r := &Rates{Over: min(at.Sub(s.From), s.Until.Sub(s.From)), counts: make(map[tally.Pair]*tally.Counts), arrived: arrived(s)}
	for i, b := range s.Backlog {
		if b != nil && b.Samples > 0 {
			r.samples = append(r.samples, sample{s.At(i).Add(sampledAfter), b})
		}
	}
	for _, l := range s.Lines {
		r.add(l.Pair, &l.Total)
	}
	return r
}

// add counts what happened to a type in a queue, for it and for all that it belongs to.
func (r *Rates) add(at tally.Pair, c *tally.Counts) {
	for _, p := range []tally.Pair{at, {Queue: at.Queue}, {Type: at.Type}, {}} {
		if r.counts[p] == nil {
			r.counts[p] = &tally.Counts{}
		}
		r.counts[p].Add(c)
	}
}

// Only are the rates of some types in queues, and their sums. What arrives is known of whole queues only, and so not of these.
func (r *Rates) Only(keep func(tally.Pair) bool) *Rates {
	if r == nil {
		return nil
	}
	out := &Rates{Over: r.Over, counts: make(map[tally.Pair]*tally.Counts), samples: r.samples, keep: keep}
	for pair, c := range r.counts {
		if pair.Queue != "" && pair.Type != "" && keep(pair) {
			out.add(pair, c)
		}
	}
	return out
}

// Counts are what was counted of a type in a queue; empty parts stand for all.
func (r *Rates) Counts(queue, typ string) *tally.Counts {
	if c := r.counts[tally.Pair{Queue: queue, Type: typ}]; c != nil {
		return c
	}
	return &tally.Counts{}
}

// Of is the rate of a type in a queue; empty parts stand for all. It is nil if nothing is known.
func (r *Rates) Of(queue, typ string) *Rate {
	if r == nil {
		return nil
	}
	c := r.Counts(queue, typ)
	each := func(n uint64) float64 { return float64(n) / r.Over.Seconds() }
	var came *float64
	if n, ok := r.arrived[queue]; ok && typ == "" {
		came = &n
	}
	return &Rate{
		Arrived: came,
		Ended:   each(c.Ended()), Succeeded: each(c.N[tally.Succeeded]), Failed: each(c.N[tally.Retrying]), Dead: each(c.N[tally.Dead]),
		WaitP50: quantileOf(c, tally.Wait, 0.5), WaitP95: quantileOf(c, tally.Wait, 0.95),
		RunP50: quantileOf(c, tally.Run, 0.5), RunP95: quantileOf(c, tally.Run, 0.95),
	}
}

// Queues are the queues of a snapshot with what ends in them.
func (r *Rates) Queues(snap *view.Snapshot) []Queue {
	all := make([]Queue, 0, len(snap.Queues))
	for _, q := range snap.Queues {
		all = append(all, Queue{Queue: q, Rate: r.Of(q.Name, ""), EmptyIn: r.emptyOf(snap, &q)})
	}
	return all
}

// Types are types of a snapshot with what ends of them.
func (r *Rates) Types(snap *view.Snapshot, types []view.Type) []Type {
	all := make([]Type, 0, len(types))
	for _, t := range types {
		all = append(all, Type{
			Type: t, Rate: r.Of(t.Queue, t.Name), EmptyIn: r.emptyOfType(snap, &t), QueuePaused: IsPaused(snap, t.Queue), Full: fullLimits(snap, &t),
		})
	}
	return all
}
