package tally

import "time"

// A Resolution is a chain of records, each of which sums up what of another chain, or of the records
// of workers, came after what the one before it has.
type Resolution struct {
	Name   string        // the last token of their subject
	Period time.Duration // there is one for each
	Of     string        // whose records they sum up, as a subject below that of statistics
	Keep   time.Duration
}

// KeepNode is how long a worker's record is kept: long enough to be summed up after an outage.
const KeepNode = 15 * time.Minute

// OfNodes is the subject of all records of workers, below that of statistics.
const OfNodes = "node.*"

// Resolutions returns all of them, the finest first. Each but the first sums up the one before it.
func Resolutions() []Resolution {
	const day = 24 * time.Hour
	return []Resolution{
		{Name: "1m", Period: time.Minute, Of: OfNodes, Keep: 6 * time.Hour},
		{Name: "10m", Period: 10 * time.Minute, Of: "1m", Keep: 8 * day},
		{Name: "1h", Period: time.Hour, Of: "10m", Keep: 100 * day},
	}
}

// Ended returns the beginning of the period that was the last one to end by a time.
func (r Resolution) Ended(now time.Time) time.Time {
	return now.UTC().Truncate(r.Period).Add(-r.Period)
}

// A Sum is a record of a resolution that is being made.
type Sum struct {
	record     *Record
	resolution Resolution
}

// Begin returns a record of a period without anything.
func (r Resolution) Begin(at time.Time) *Sum {
	return &Sum{record: &Record{At: at}, resolution: r}
}

// Add adds a record of those that are summed up: each period of it to the one that it is part of.
func (s *Sum) Add(r *Record) {
	for _, p := range r.Periods {
		mine := s.record.period(p.At.UTC().Truncate(s.resolution.Period))
		mine.Sums.AddAll(p.Sums)
		if p.Backlog != nil {
			mine.sample(p.Backlog)
		}
	}
}

// Sample adds what waits at the moment to the period that the record is for, with the signs of problems.
func (s *Sum) Sample(b *Backlog) {
	p := s.record.period(s.record.At)
	p.sample(b)
	p.Backlog.Signs = b.Signs
}

// Made returns the record as far as it is made.
func (s *Sum) Made() *Record { return s.record }

func (p *Period) sample(b *Backlog) {
	if p.Backlog == nil {
		p.Backlog = new(Backlog)
	}
	p.Backlog.Add(b)
}

// Record returns the record, which has all records up to a sequence of the stream that the one before
// it does not have.
func (s *Sum) Record(upTo uint64) *Record {
	s.record.UpTo = upTo
	return s.record
}
