package stats

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
)

// A Query says of what, and of which time, a history is.
type Query struct {
	From, Until time.Time // rounded outwards to whole steps
	By          tally.By
	Queue, Type string // of this queue and type only; empty: of all
}

// finest is up to how much time is shown in steps of a resolution: what is kept of it, or what a
// screen can show.
func finest(span time.Duration) tally.Resolution {
	all := tally.Resolutions()
	switch {
	case span <= 3*time.Hour:
		return all[0]
	case span <= 7*24*time.Hour:
		return all[1]
	}
	return all[2]
}

// History returns what happened, up to ten seconds ago: the sums of one resolution and, where they end,
// those of the finer ones and the workers' own records. So each record of a worker is in it once. Of
// a namespace without statistics it has nothing.
func (s *Store) History(ctx context.Context, q Query) (*tally.Series, error) {
	r := finest(q.Until.Sub(q.From))
	span := tally.Span{From: q.From.UTC().Truncate(r.Period), Until: q.Until.UTC().Truncate(r.Period), Step: r.Period}
	if span.Until.Before(q.Until) {
		span.Until = span.Until.Add(r.Period)
	}
	series := tally.NewSeries(span, q.By, func(p tally.Pair) bool {
		return (q.Queue == "" || q.Queue == p.Queue) && (q.Type == "" || q.Type == p.Type)
	})
	for record, err := range s.recordsOf(ctx, r, span.From) {
		if err != nil {
			return nil, err
		}
		series.Add(record)
	}
	return series, nil
}

// recordsOf yields all that was counted since a time and some of what was before, each once: the sums
// of a resolution, what the next finer one has behind the last of these, and so on down to the workers'
// records.
func (s *Store) recordsOf(ctx context.Context, r tally.Resolution, since time.Time) func(yield func(*tally.Record, error) bool) {
	return func(yield func(*tally.Record, error) bool) {
		chains, err := s.chains(ctx, r, since)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, chain := range chains {
			for record, err := range s.records(ctx, chain) {
				if !yield(record, err) || err != nil {
					return
				}
			}
		}
	}
}

// chains returns which parts of the stream have it.
func (s *Store) chains(ctx context.Context, r tally.Resolution, since time.Time) ([]stream.Scan, error) {
	part := stream.Scan{Since: since}
	var parts []stream.Scan
	for {
		last, err := s.last(ctx, r)
		if err != nil {
			return nil, err
		}
		part.Subject, part.UpTo = s.subject(r.Name), last.seq
		parts = append(parts, part)
		if last.seq > 0 { // else all that there is is finer
			part = stream.Scan{From: last.UpTo + 1}
		}
		if r.Of == tally.OfNodes {
			break
		}
		r = finer(r)
	}
	info, err := s.client.Info(ctx, s.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	part.Subject, part.UpTo = s.subject(tally.OfNodes), info.State.LastSeq
	return append(parts, part), nil
}

// finer returns the resolution that r sums up.
func finer(r tally.Resolution) tally.Resolution {
	for _, f := range tally.Resolutions() {
		if f.Name == r.Of {
			return f
		}
	}
	return r
}
