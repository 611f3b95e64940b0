package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// A recorder notes which of the jobs 0 … n-1 a worker handled, and when. Noting one takes
// neither a lock nor an allocation.
type recorder struct {
	started []atomic.Int64 // by job; Unix time in ns, 0: not yet
	sent    []atomic.Int64 // by job; when it was enqueued, in the same way
	handled atomic.Int64
	again   atomic.Int64
	last    atomic.Int64 // when a handler ended last
}

func newRecorder(jobs int) *recorder {
	return &recorder{started: make([]atomic.Int64, jobs), sent: make([]atomic.Int64, jobs)}
}

func (r *recorder) start(payload []byte) error {
	n, sent, err := readPayload(payload)
	if err != nil {
		return err
	}
	if n >= len(r.started) {
		return fmt.Errorf("job %d, expected less than %d", n, len(r.started))
	}
	if r.started[n].Swap(time.Now().UnixNano()) != 0 {
		r.again.Add(1)
	}
	r.sent[n].Store(sent)
	return nil
}

func (r *recorder) end() {
	r.last.Store(time.Now().UnixNano())
	r.handled.Add(1)
}

// await returns when this many handlers have ended.
func (r *recorder) await(ctx context.Context, jobs int) error {
	for before, since := r.handled.Load(), time.Now(); ; {
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
		switch now := r.handled.Load(); {
		case now >= int64(jobs):
			return nil
		case now != before:
			before, since = now, time.Now()
		case time.Since(since) > patience:
			return fmt.Errorf("%d of %d jobs are handled and no more for %v", now, jobs, patience)
		}
	}
}

// scoreOptions say what a score is to tell.
type scoreOptions struct {
	Mark int // count of starts of which the last one's time is wanted; 0: none
	Skip int // jobs below this number are left out of the delays
}

// A score is what a worker tells of its jobs.
type score struct {
	Bits  []byte        // job n is bit n%8 of byte n/8
	Jobs  int           // handled, each counted once
	Again int           // handlings of a job that had been handled before
	First int64         // Unix time in ns of the first start; 0: none
	Mark  int64         // of the start that was asked for; 0: there was none
	Last  int64         // of the last end
	P50   time.Duration // from enqueue to start
	P99   time.Duration
}

func (r *recorder) score(o scoreOptions) score {
	s := score{Bits: make([]byte, (len(r.started)+7)/8), Again: int(r.again.Load()), Last: r.last.Load()}
	var starts, delays []int64
	for n := range r.started {
		at := r.started[n].Load()
		if at == 0 {
			continue
		}
		s.Bits[n/8] |= 1 << (n % 8)
		starts = append(starts, at)
		if n >= o.Skip {
			delays = append(delays, at-r.sent[n].Load())
		}
	}
	slices.Sort(starts)
	slices.Sort(delays)
	if s.Jobs = len(starts); s.Jobs > 0 {
		s.First = starts[0]
	}
	if o.Mark > 0 && o.Mark <= len(starts) {
		s.Mark = starts[o.Mark-1]
	}
	if len(delays) > 0 {
		s.P50, s.P99 = time.Duration(percentile(delays, 50)), time.Duration(percentile(delays, 99))
	}
	return s
}

// checkAll returns an error unless the workers together handled each of the jobs once.
func checkAll(jobs int, scores []score) error {
	all := make([]byte, (jobs+7)/8)
	handled, again := 0, 0
	for _, s := range scores {
		again += s.Again
		for i, b := range s.Bits {
			for bit := range 8 {
				if b&(1<<bit) == 0 {
					continue
				}
				if all[i]&(1<<bit) != 0 {
					again++
				} else {
					handled++
				}
			}
			all[i] |= b
		}
	}
	if handled != jobs || again > 0 {
		return fmt.Errorf("of %d jobs %d were handled, %d times one again", jobs, handled, again)
	}
	return nil
}

// firstStart returns when the first of all workers started its first job.
func firstStart(scores []score) time.Time {
	var first int64
	for _, s := range scores {
		if s.First != 0 && (first == 0 || s.First < first) {
			first = s.First
		}
	}
	return time.Unix(0, first)
}

// lastEnd returns when the last of all handlers ended.
func lastEnd(scores []score) time.Time {
	var last int64
	for _, s := range scores {
		last = max(last, s.Last)
	}
	return time.Unix(0, last)
}

// leastShare returns what the worker with the fewest jobs had of an equal share: 1 is fair.
func leastShare(scores []score) float64 {
	total, least := 0, scores[0].Jobs
	for _, s := range scores {
		total += s.Jobs
		least = min(least, s.Jobs)
	}
	return float64(least) * float64(len(scores)) / float64(total)
}
