package tally

import "time"

// How long the records of a worker are kept that are not stored.
const (
	// keepUnsent is how long one is kept that nobody has. Those who sum up look that far back.
	keepUnsent = 10 * time.Minute
	// mostUnsent bounds what a long outage costs.
	mostUnsent = 60
)

// An Outbox has the records of a worker until they are stored, oldest first. One that was sent, and
// of which nobody knows whether it is stored, may be sent again while the stream would know it by its
// name; after that it is dropped, since it could be counted twice.
type Outbox struct {
	// DoubtFor is for how long, from the first attempt, one may be sent again.
	DoubtFor time.Duration

	waiting []*Letter
}

// A Letter is a record on its way.
type Letter struct {
	*Record
	Number uint64 // names it, with its worker

	made  time.Time
	sent  time.Time // the first attempt that may have got through; zero: none
	again bool      // it was tried before
}

// Again reports whether l was sent before.
func (l *Letter) Again() bool { return l.again }

// Put adds a record and returns how many others are dropped for it.
func (o *Outbox) Put(r *Record, number uint64, now time.Time) (dropped int) {
	o.waiting = append(o.waiting, &Letter{Record: r, Number: number, made: now})
	if dropped = len(o.waiting) - mostUnsent; dropped > 0 {
		o.waiting = o.waiting[dropped:]
	}
	return max(dropped, 0)
}

// Len returns how many are not stored.
func (o *Outbox) Len() int { return len(o.waiting) }

// Next returns the oldest record, nil if there is none, and how many were dropped since they are too
// old by now.
func (o *Outbox) Next(now time.Time) (l *Letter, dropped int) {
	for len(o.waiting) > 0 {
		l := o.waiting[0]
		doubtful := !l.sent.IsZero() && now.Sub(l.sent) >= o.DoubtFor
		if !doubtful && now.Sub(l.made) < keepUnsent {
			return l, dropped
		}
		o.waiting = o.waiting[1:]
		dropped++
	}
	return nil, dropped
}

// Stored notes that the oldest is stored, or will never be.
func (o *Outbox) Stored() { o.waiting = o.waiting[1:] }

// Failed notes that l, which was sent at a time, is not stored as far as is known. If it may be
// nevertheless, it is in doubt from then on.
func (o *Outbox) Failed(l *Letter, sent time.Time, maybe bool) {
	l.again = true
	if maybe && l.sent.IsZero() {
		l.sent = sent
	}
}
