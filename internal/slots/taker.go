package slots

import (
	"context"
	"sync"
	"time"
)

// A Taker is a [Limiter] of a rate without jobs: whoever wants to start something takes a permit for that.
// The zero value is in use, and has no limit.
type Taker struct {
	mu      sync.Mutex
	limited bool
	permits int
	until   time.Time
	starts  window
	waiting int           // starts that somebody waits for
	changed chan struct{} // nil until somebody waits; closed when something has changed
}

// takeAhead is how many permits a taker wants beyond those it needs, as a worker does with free slots.
const takeAhead = 100

// Limiter returns t as the limiter of a rate with this period.
func (t *Taker) Limiter(period time.Duration) Limiter {
	t.change(func() { t.starts.period = period })
	return t
}

func (t *Taker) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// Allow implements [Limiter].
func (t *Taker) Allow(permits int, until time.Time) {
	t.change(func() { t.limited, t.permits, t.until = true, permits, until })
}

// Use implements [Limiter].
func (t *Taker) Use() (used, need, want int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	used = t.starts.count(time.Now())
	need = used + t.waiting
	return used, need, need + takeAhead
}

// Lift implements [Limiter].
func (t *Taker) Lift() { t.change(func() { t.limited = false }) }

// Lose implements [Limiter].
func (t *Taker) Lose() { t.change(func() { t.limited, t.permits = true, 0 }) }

// Take waits until at least one of n may be started, and returns how many may be, which counts them. Its
// error is the cause of ctx.
func (t *Taker) Take(ctx context.Context, n int) (granted int, err error) {
	if n < 1 {
		return 0, nil
	}
	for {
		granted, again, changed := t.take(n)
		if granted > 0 {
			return granted, nil
		}
		if err := t.await(ctx, n, again, changed); err != nil {
			return 0, err
		}
	}
}

// take grants what it can, or says when that may be more.
func (t *Taker) take(n int) (granted int, again time.Time, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	switch {
	case !t.limited:
		return n, time.Time{}, nil
	case Elapsed(t.until, now) < 0:
		granted = min(n, t.permits-t.starts.count(now))
	}
	for range granted {
		t.starts.add(now)
	}
	if granted > 0 {
		return granted, time.Time{}, nil
	}
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return 0, t.starts.next(), t.changed
}

// await waits for a time, if there is one, or a change.
func (t *Taker) await(ctx context.Context, n int, again time.Time, changed <-chan struct{}) error {
	t.mu.Lock()
	t.waiting += n
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.waiting -= n
	}()
	var due <-chan time.Time
	if !again.IsZero() {
		timer := time.NewTimer(time.Until(again))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
	case <-changed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
