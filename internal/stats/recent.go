package stats

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
)

// Recent has the sums of the last minutes, for those who look often: what was read before is not read
// again, and nothing is asked before the next sum is due. It is safe for concurrent use.
type Recent struct {
	store *Store
	keep  time.Duration

	mu      sync.Mutex
	minutes []*tally.Record
	seq     uint64    // of the last one
	asked   time.Time // when they were read last
}

// askAgain is how long it is waited for a sum that is late.
const askAgain = 5 * time.Second

// NewRecent returns the sums of so much time. It does no I/O.
func NewRecent(s *Store, keep time.Duration) *Recent { return &Recent{store: s, keep: keep} }

// Minutes returns the sums of the minutes up to now, oldest first, which are not to be changed: of a
// namespace without statistics there are none.
func (r *Recent) Minutes(ctx context.Context, now time.Time) ([]*tally.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.asked).Abs() < askAgain || !r.isDue(now) {
		return r.within(now), nil
	}
	minute := tally.Resolutions()[0]
	what := stream.Scan{Subject: r.store.subject(minute.Name), From: r.seq + 1, UpTo: math.MaxInt64}
	if r.seq == 0 {
		what.From, what.Since = 0, now.Add(-r.keep)
	}
	for m, err := range r.store.client.Scan(ctx, r.store.name, what) {
		if err != nil {
			return nil, err
		}
		r.seq = m.Seq
		if record, err := tally.ReadRecord(m.Data); err == nil { // else nobody of ours wrote it
			r.minutes = append(r.minutes, record)
		}
	}
	r.asked = now
	return r.within(now), nil
}

// isDue reports whether there may be a sum that is not known yet.
func (r *Recent) isDue(now time.Time) bool {
	n := len(r.minutes)
	return n == 0 || !now.Before(r.minutes[n-1].At.Add(2*time.Minute+mergeAfter))
}

// within forgets what is too old, and returns the others.
func (r *Recent) within(now time.Time) []*tally.Record {
	r.minutes = slices.DeleteFunc(slices.Clone(r.minutes), func(m *tally.Record) bool { return now.Sub(m.At) > r.keep })
	return r.minutes
}

// A Past is how long the jobs of a queue and type ran, and when one last ended.
type Past struct {
	Runs    tally.Histogram
	LastEnd time.Time // it was no later: the end of the period in which it did, or when that was summed up
}

// Past returns what ran since a time, up to ten seconds ago, in as few records as there are of that.
func (s *Store) Past(ctx context.Context, since time.Time) (map[tally.Pair]*Past, error) {
	all := tally.Resolutions()
	chains, err := s.chains(ctx, all[len(all)-1], since)
	if err != nil {
		return nil, err
	}
	past := make(map[tally.Pair]*Past)
	for _, chain := range chains {
		length := s.lengthOf(chain.Subject)
		for record, err := range s.records(ctx, chain) {
			if err != nil {
				return nil, err
			}
			for _, p := range record.Periods {
				note(past, p, length, record.Stored)
			}
		}
	}
	return past, nil
}

// lengthOf is how long a period of the records is that have a subject.
func (s *Store) lengthOf(subject string) time.Duration {
	for _, r := range tally.Resolutions() {
		if s.subject(r.Name) == subject {
			return r.Period
		}
	}
	return recordEvery
}

// note adds what a period has, which is so long, of a record that was stored at a time.
func note(past map[tally.Pair]*Past, p *tally.Period, length time.Duration, stored time.Time) {
	end := p.At.Add(length)
	if stored.Before(end) { // the sum of an hour has the first seconds of the next
		end = stored
	}
	for pair, c := range p.Sums {
		of := past[pair]
		if of == nil {
			of = new(Past)
			past[pair] = of
		}
		of.Runs.Add(c.Histogram(tally.Run))
		if c.Ended() > 0 && end.After(of.LastEnd) {
			of.LastEnd = end
		}
	}
}
