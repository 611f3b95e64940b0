package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// rateOver is how far back what is "per second" goes at least.
const rateOver = 2 * time.Minute

// A rate is what ended in a second, on average of the last minutes. Its JSON is a contract.
type rate struct {
	Ended     float64  `json:"ended"`
	Succeeded float64  `json:"succeeded"`
	Failed    float64  `json:"failed"` // runs that are tried again
	Dead      float64  `json:"dead"`
	RunP50    *float64 `json:"run_p50_s,omitempty"` // how long runs took
	RunP95    *float64 `json:"run_p95_s,omitempty"`
}

// rates are those of queues and types; nil if the workers keep no statistics.
type rates struct {
	over   time.Duration
	counts map[tally.Pair]*tally.Counts // a part that is empty stands for all
}

// look takes a snapshot, and what is known of rates.
func (s *session) look(ctx context.Context) (*view.Snapshot, *rates, error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, nil, err
	}
	series, err := stats.NewStore(s.js, slog.New(slog.DiscardHandler)).History(ctx, stats.Query{From: s.now.Add(-rateOver), Until: s.now, By: tally.ByPair})
	if err != nil {
		s.warn("rates are not known: %v", err)
		return snap, nil, nil
	}
	if len(series.Lines) == 0 {
		return snap, nil, nil
	}
	r := &rates{over: s.now.Sub(series.From), counts: make(map[tally.Pair]*tally.Counts)}
	for _, l := range series.Lines {
		for _, p := range []tally.Pair{l.Pair, {Queue: l.Queue}, {}} {
			if r.counts[p] == nil {
				r.counts[p] = &tally.Counts{}
			}
			r.counts[p].Add(&l.Total)
		}
	}
	return snap, r, nil
}

// of is the rate of a type in a queue; empty parts stand for all. It is nil if nothing is known.
func (r *rates) of(queue, typ string) *rate {
	if r == nil {
		return nil
	}
	c := r.counts[tally.Pair{Queue: queue, Type: typ}]
	if c == nil {
		return &rate{}
	}
	each := func(n uint64) float64 { return float64(n) / r.over.Seconds() }
	return &rate{
		Ended: each(c.Ended()), Succeeded: each(c.N[tally.Succeeded]), Failed: each(c.N[tally.Retrying]), Dead: each(c.N[tally.Dead]),
		RunP50: quantileOf(c, tally.Run, 0.5), RunP95: quantileOf(c, tally.Run, 0.95),
	}
}

// rateText is a number with what of its fraction matters.
func rateText(n float64) string {
	switch {
	case n == 0:
		return "0"
	case n >= 10:
		return thousands(int64(n + 0.5))
	}
	return fmt.Sprintf("%.2g", n)
}

func rateCell(r *rate) cell {
	if r == nil {
		return plain(none)
	}
	return plain(rateText(r.Ended))
}

// runCell is how long all but the slowest runs took.
func runCell(r *rate) cell {
	if r == nil {
		return plain(none)
	}
	return seconds(r.RunP95)
}

// failedCell is which part of the runs failed, for good or not.
func failedCell(r *rate) cell {
	if r == nil || r.Ended == 0 {
		return plain(none)
	}
	c := plain(rateText(100*(r.Failed+r.Dead)/r.Ended) + " %")
	if r.Dead > 0 {
		c.style = red
	}
	return c
}

// A queueNow is a queue with what ends in it. Its JSON is a contract.
type queueNow struct {
	view.Queue
	Rate *rate `json:"per_second,omitempty"`
}

// A typeNow is a type with what ends of it. Its JSON is a contract.
type typeNow struct {
	view.Type
	Rate *rate `json:"per_second,omitempty"`
}

func (r *rates) queues(snap *view.Snapshot) []queueNow {
	all := make([]queueNow, 0, len(snap.Queues))
	for _, q := range snap.Queues {
		all = append(all, queueNow{Queue: q, Rate: r.of(q.Name, "")})
	}
	return all
}

func (r *rates) types(types []view.Type) []typeNow {
	all := make([]typeNow, 0, len(types))
	for _, t := range types {
		all = append(all, typeNow{Type: t, Rate: r.of(t.Queue, t.Name)})
	}
	return all
}
