package stats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
)

// A Sampler says what waits at the moment, and what is a problem, given what was counted that no stored
// sum has. It returns an error if that cannot be told. Unless it is nil, stored is called once the sum is
// in the stream that has the sample: that of somebody else who was first has not.
type Sampler func(ctx context.Context, made *tally.Record) (b *tally.Backlog, stored func(), err error)

// Merge writes the sums that are due at a time: of the minute that ended last and, where they have
// ended too, of the ten minutes and the hour. Somebody else may have written them, or does so at the
// same time: one gets through.
//
// The sample, which may be nil, is asked only by the one who writes the minute.
func (s *Store) Merge(ctx context.Context, now time.Time, sample Sampler) error {
	for _, r := range tally.Resolutions() {
		at := r.Ended(now)
		if at.Equal(r.Ended(now.Add(-time.Minute))) {
			return nil // none has ended since the minute before
		}
		if err := s.merge(ctx, r, at, now, sample); err != nil {
			return fmt.Errorf("sum of %s: %w", r.Name, err)
		}
		sample = nil // the coarser ones have it from the minutes
	}
	return nil
}

// merge writes the next sum of a resolution, for the period that began at a time, unless it is there.
func (s *Store) merge(ctx context.Context, r tally.Resolution, at, now time.Time, sample Sampler) error {
	last, err := s.last(ctx, r)
	if err != nil {
		return err
	}
	if written := !last.At.Before(at) && !last.At.After(now); written { // one of a time to come says nothing
		return nil
	}
	info, err := s.client.Info(ctx, s.name)
	if err != nil {
		return err
	}
	upTo := info.State.LastSeq
	sum := r.Begin(at)
	for record, err := range s.records(ctx, stream.Scan{Subject: s.subject(r.Of), From: last.UpTo + 1, UpTo: upTo}) {
		if err != nil {
			return err
		}
		sum.Add(record)
	}
	stored := func() {}
	if sample != nil {
		if b, then, err := sample(ctx, sum.Made()); err == nil {
			sum.Sample(b)
			if then != nil {
				stored = then
			}
		} else {
			s.log.DebugContext(ctx, "it cannot be told what waits: the minute's statistics lack it", slog.Any("err", err))
		}
	}
	m := &nats.Msg{Subject: s.subject(r.Name), Header: nats.Header{}}
	stream.Expect(m, last.seq, m.Subject)
	err = s.send(ctx, sum.Record(upTo), m, r.Keep)
	if errors.Is(err, stream.ErrConflict) || stream.Code(err) == stream.CodeWrongLastSeqBusy {
		return nil // somebody was first
	}
	if err == nil {
		stored()
	}
	return err
}

// A stored record is one with its place in the stream.
type stored struct {
	*tally.Record
	seq uint64 // 0: there is none
}

// last returns the last sum of a resolution, as the stream's leader knows it, an empty one if there
// is none. One that cannot be read, since somebody else wrote it, has all that was there before it:
// rather than that it is not known what has been counted, some is left out.
func (s *Store) last(ctx context.Context, r tally.Resolution) (stored, error) {
	m, err := s.client.Last(ctx, s.name, s.subject(r.Name))
	if errors.Is(err, stream.ErrNotFound) {
		return stored{Record: new(tally.Record)}, nil
	}
	if err != nil {
		return stored{}, err
	}
	record, err := tally.ReadRecord(m.Data)
	if err != nil {
		record = &tally.Record{UpTo: m.Seq}
	}
	return stored{record, m.Seq}, nil
}

// records yields the records of a part of the stream, the error last. What is none, since somebody
// else wrote it, is left out.
func (s *Store) records(ctx context.Context, what stream.Scan) func(yield func(*tally.Record, error) bool) {
	return func(yield func(*tally.Record, error) bool) {
		if what.UpTo < what.From {
			return
		}
		for m, err := range s.client.Scan(ctx, s.name, what) {
			if err != nil {
				yield(nil, err)
				return
			}
			record, err := tally.ReadRecord(m.Data)
			if err != nil {
				continue
			}
			record.Stored = m.Time
			if !yield(record, nil) {
				return
			}
		}
	}
}
