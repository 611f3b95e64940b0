package queue

import (
	"sync"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

const (
	minTogether = 100 // jobs in an atomic batch that is made for its speed

	batchGuess  = 30 * time.Millisecond // that a batch takes, of which none was made yet
	eachLasts   = time.Minute           // for which it is known how long a job takes by itself
	eachChecked = 10 * time.Second      // the same while batches are made
	batchLasts  = time.Minute           // for which it is known how long a batch takes, or that there are none
)

// A plan is how the next jobs of a bulk are sent.
type plan int

const (
	planEach     plan = iota // each by itself
	planProbe                // some of them each by itself, to see how long that takes
	planTogether             // in an atomic batch
)

// A pace is what is known of how fast a queue stores jobs. A broker that syncs its files after each
// write, and is not a cluster, stores thousands in a second where others store a hundred thousand. It
// syncs once for an atomic batch, which is slower for all others. No broker tells which it is, so it is
// measured.
//
// A batch is made if its jobs would take half as long again by themselves.
type pace struct {
	mu        sync.Mutex
	each      time.Duration // that a job takes by itself; 0: not known
	eachAt    time.Time     // when that was measured, or could not be
	batches   [2]batchTime  // the last ones
	batchAt   time.Time     // when the last one was made
	failed    bool          // it was not stored
	noneUntil time.Time     // no batches are made: the stream takes none, or has stored none
}

// A batchTime is how long a batch took; without jobs: there was none.
type batchTime struct {
	jobs int
	took time.Duration
}

// of returns how long a batch of so many jobs would take then.
func (b batchTime) of(jobs int) time.Duration {
	if b.jobs == 0 {
		return batchGuess
	}
	return max(b.took, b.took*time.Duration(jobs)/time.Duration(b.jobs))
}

// plan decides about some jobs.
func (p *pace) plan(jobs int, now time.Time) plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	lasts := eachLasts
	if p.batchAt.After(p.eachAt) {
		lasts = eachChecked
	}
	switch {
	case jobs < minTogether, now.Before(p.noneUntil):
		return planEach
	case now.Sub(p.eachAt) > lasts:
		return planProbe
	case time.Duration(jobs)*p.each > p.expected(jobs, now)*3/2:
		return planTogether
	default:
		return planEach
	}
}

// expected is how long a batch would take: as the faster one of the last two, since one may have been
// held up.
func (p *pace) expected(jobs int, now time.Time) time.Duration {
	if now.Sub(p.batchAt) > batchLasts {
		return batchGuess
	}
	return min(p.batches[0].of(jobs), p.batches[1].of(jobs))
}

// noteEach takes note of how long a job took by itself; 0: it could not be measured.
func (p *pace) noteEach(took time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.each, p.eachAt = took, now
}

// noteTogether takes note of how long a batch took, or that it was not stored. The second one in a row
// is the last for a while, and so is the first that the stream says it never takes.
func (p *pace) noteTogether(jobs int, took time.Duration, err error, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.failed || stream.Code(err) == stream.CodeAtomicDisabled {
			p.noneUntil = now.Add(batchLasts)
		}
		p.failed = !p.failed
		return
	}
	if now.Sub(p.batchAt) > batchLasts {
		p.batches = [2]batchTime{}
	}
	p.batches = [2]batchTime{p.batches[1], {jobs: jobs, took: took}}
	p.batchAt, p.failed = now, false
}

// paceOf returns that of a queue.
func (s *Store) paceOf(queue job.Name) *pace {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paces[queue] == nil {
		s.paces[queue] = new(pace)
	}
	return s.paces[queue]
}
