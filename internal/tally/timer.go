package tally

import (
	"sync/atomic"
	"time"
)

// A Timer is a histogram that grows while it is read. Its methods neither block nor allocate, but for
// Read. The zero value is empty.
type Timer struct {
	counts [buckets]atomic.Uint64
	nanos  atomic.Uint64
}

// Observe counts something that took d.
func (t *Timer) Observe(d time.Duration) {
	t.counts[BucketOf(d)-FirstBucket].Add(1)
	t.nanos.Add(uint64(max(d, 0))) //nolint:gosec // it is not negative
}

// Read returns what was counted so far.
func (t *Timer) Read() *Histogram {
	h := &Histogram{micros: t.nanos.Load() / uint64(time.Microsecond)}
	for i := range t.counts {
		h.add(FirstBucket+i, t.counts[i].Load())
	}
	return h
}
