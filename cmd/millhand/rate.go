package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// look takes a snapshot, and what is known of rates.
func (s *session) look(ctx context.Context) (*view.Snapshot, *answer.Rates, error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, nil, err
	}
	series, err := stats.NewStore(s.js, slog.New(slog.DiscardHandler)).History(ctx, stats.Query{From: s.now.Add(-answer.RateOver), Until: s.now, By: tally.ByPair})
	if err != nil {
		s.warn("rates are not known: %v", err)
		return snap, nil, nil
	}
	return snap, answer.RatesOf(series, s.now), nil
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

func rateCell(r *answer.Rate) cell {
	if r == nil {
		return plain(none)
	}
	return plain(rateText(r.Ended))
}

// slowCells are how long all but the slowest jobs waited and ran.
func slowCells(r *answer.Rate) []cell {
	if r == nil {
		return []cell{plain(none), plain(none)}
	}
	return []cell{seconds(r.WaitP95), seconds(r.RunP95)}
}

// failedCell is which part of the runs failed, for good or not.
func failedCell(r *answer.Rate) cell {
	if r == nil || r.Ended == 0 {
		return plain(none)
	}
	c := plain(rateText(100*(r.Failed+r.Dead)/r.Ended) + " %")
	if r.Dead > 0 {
		c.style = red
	}
	return c
}
