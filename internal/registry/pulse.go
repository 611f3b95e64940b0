package registry

import (
	"sync/atomic"
	"time"
)

// A pulse tells that the process stood still: that somebody who beats it several times a second, or
// every few seconds, has not done so for long. It is safe for concurrent use.
type pulse struct {
	every time.Duration // it is to be beaten
	most  time.Duration // between two beats
	began time.Time
	last  *atomic.Int64 // nanoseconds since it began
}

// newPulse returns the pulse of a node whose presence lasts that long.
func newPulse(presence time.Duration) pulse {
	return pulse{every: presence / 8, most: presence / 2, began: time.Now(), last: new(atomic.Int64)}
}

func (p *pulse) beat() { p.last.Store(int64(time.Since(p.began))) }

// missed reports whether the last beat is too long ago. Of several that ask after the same, one is told
// so: that counts as a beat.
func (p *pulse) missed() bool {
	last, now := p.last.Load(), int64(time.Since(p.began))
	return time.Duration(now-last) > p.most && p.last.CompareAndSwap(last, now)
}
