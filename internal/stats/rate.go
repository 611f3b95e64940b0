package stats

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
)

// enough is how many starts in the last minute say how fast it goes. Of fewer, the last ten minutes do.
const enough = 10

// StartRate returns how many jobs of a queue and type started in a minute lately, as the last sums of a
// minute and of ten minutes have it, with one request; 0 if none did, or nothing is known. A replica
// answers.
func (s *Store) StartRate(ctx context.Context, p tally.Pair, now time.Time) (perMinute float64, err error) {
	all := tally.Resolutions()
	subjects := make(map[string]tally.Resolution)
	for _, r := range all[:2] {
		subjects[s.subject(r.Name)] = r
	}
	var minute, ten *tally.Record
	for m, err := range s.client.LastOfEach(ctx, s.name, []string{s.subject(all[0].Name), s.subject(all[1].Name)}) {
		if errors.Is(err, stream.ErrNotFound) || errors.Is(err, nats.ErrNoResponders) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		r, known := subjects[m.Subject]
		record, err := tally.ReadRecord(m.Data)
		if err != nil || !known || now.Sub(record.At) > 3*r.Period { // nobody of ours, or nobody sums up any more
			continue
		}
		if r.Name == all[0].Name {
			minute = record
		} else {
			ten = record
		}
	}
	of := started(minute, p)
	if of >= enough || ten == nil {
		return float64(of), nil
	}
	return float64(started(ten, p)) / all[1].Period.Minutes(), nil
}

// started is how many jobs of a pair a record has that started.
func started(r *tally.Record, p tally.Pair) (n uint64) {
	if r == nil {
		return 0
	}
	for _, period := range r.Periods {
		if c := period.Sums[p]; c != nil {
			n += c.N[tally.Started]
		}
	}
	return n
}
