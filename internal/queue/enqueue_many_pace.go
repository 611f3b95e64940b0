package queue

import (
	"sync"
	"time"

	"github.com/millhand/millhand/internal/job"
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
	batch     time.Duration // that the last batch took
	jobs      int           // in that; 0: there was none
	batchAt   time.Time
	noneUntil time.Time // no batches are made: the stream takes none, or has stored none
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

// expected is how long a batch would take.
func (p *pace) expected(jobs int, now time.Time) time.Duration {
	if p.jobs == 0 || now.Sub(p.batchAt) > batchLasts {
		return batchGuess
	}
	return max(p.batch, p.batch*time.Duration(jobs)/time.Duration(p.jobs))
}

// noteEach takes note of how long a job took by itself; 0: it could not be measured.
func (p *pace) noteEach(took time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.each, p.eachAt = took, now
}

// noteTogether takes note of how long a batch took, or that it was not stored.
func (p *pace) noteTogether(jobs int, took time.Duration, err error, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.noneUntil = now.Add(batchLasts)
		return
	}
	p.batch, p.jobs, p.batchAt = took, jobs, now
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
