package pipeline

import (
	"context"
	"sync"
	"time"
)

// A Limiter says how many things may be started. It is used by one goroutine as a pipeline's Limit, and by
// as many as there are in a handler.
type Limiter interface {
	// Take waits until at least one of n may be started and returns how many may be, from 1 to n, which
	// counts them as started. An error says that it is not known; then none may.
	Take(ctx context.Context, n int) (int, error)
}

// A Rate is a [Limiter] of this process: no more than a number of starts in any period, wherever that
// begins.
type Rate struct {
	mu      sync.Mutex
	limit   int
	per     time.Duration
	started []time.Time   // within the last period, oldest first; at most limit, unless that was lowered
	changed chan struct{} // nil until somebody waits; closed by Set and Reset
}

// Every returns a rate of limit starts in any period of per. Neither is less than 1.
func Every(limit int, per time.Duration) *Rate {
	return &Rate{limit: max(limit, 1), per: max(per, 1)}
}

// Limit returns what the rate is.
func (r *Rate) Limit() (limit int, per time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.limit, r.per
}

// Set changes the rate. What was started counts.
func (r *Rate) Set(limit int, per time.Duration) {
	r.change(func() { r.limit, r.per = max(limit, 1), max(per, 1) })
}

// Reset forgets what was started.
func (r *Rate) Reset() { r.change(func() { r.started = nil }) }

func (r *Rate) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// renew has n starts that were granted at a time, and have not begun, be of now. It returns how many of them
// are so, and when now is: those of an earlier period are over. Another pipeline may have been granted some at the same time.
func (r *Rate) renew(n int, granted time.Time) (renewed int, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now = time.Now()
	kept := r.started[:0]
	for _, at := range r.started {
		if renewed < n && at.Equal(granted) && now.Sub(at) < r.per {
			renewed++
			continue
		}
		kept = append(kept, at)
	}
	for range renewed {
		kept = append(kept, now)
	}
	r.started = kept
	return renewed, now
}

// Take implements [Limiter]. Its only error is the cause of ctx.
func (r *Rate) Take(ctx context.Context, n int) (int, error) {
	granted, _, err := r.takeAt(ctx, n)
	return granted, err
}

// takeAt is Take with the time as of which the starts count.
func (r *Rate) takeAt(ctx context.Context, n int) (granted int, at time.Time, err error) {
	for n > 0 {
		now := time.Now()
		granted, after, changed := r.take(now, n)
		if granted > 0 {
			return granted, now, nil
		}
		timer := time.NewTimer(after)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
			timer.Stop()
			return 0, time.Time{}, context.Cause(ctx)
		}
		timer.Stop()
	}
	return 0, time.Time{}, nil
}

// take grants what it can, or says how long it is until that may be something.
func (r *Rate) take(now time.Time, n int) (granted int, after time.Duration, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := 0
	for gone < len(r.started) && now.Sub(r.started[gone]) >= r.per {
		gone++
	}
	r.started = append(r.started[:0], r.started[gone:]...)
	granted = max(min(n, r.limit-len(r.started)), 0)
	for range granted {
		r.started = append(r.started, now)
	}
	if granted == 0 {
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		return 0, r.started[len(r.started)-r.limit].Add(r.per).Sub(now), r.changed
	}
	return granted, 0, nil
}
