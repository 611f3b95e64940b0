package bulk

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How fast jobs are acted on, a second.
const (
	DefaultRate = 200
	MaxRate     = 5000
	slowest     = 5
)

const (
	slowWrite   = 50 * time.Millisecond // the broker has enough to do without us
	adjustEvery = 500 * time.Millisecond
)

// A Pace is how fast jobs are acted on: as fast as is wanted, and slower while writes are slow. It is
// safe for concurrent use.
type Pace struct {
	limiter *rate.Limiter
	wanted  float64

	mu     sync.Mutex
	writes []time.Duration // since adjusted
	since  time.Time
}

// NewPace returns a pace of so many a second, from 1 to [MaxRate].
func NewPace(perSecond int) *Pace {
	p := &Pace{wanted: float64(perSecond), since: time.Now()}
	p.limiter = rate.NewLimiter(rate.Limit(p.wanted), burst(p.wanted))
	return p
}

// burst is how many may start in the same moment: timers are not as fine as 5,000 a second.
func burst(perSecond float64) int { return max(1, int(perSecond/50)) }

// Wrote tells how long the broker took to answer a write.
func (p *Pace) Wrote(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes = append(p.writes, took)
}

// Rate is how many a second there are at the moment.
func (p *Pace) Rate() float64 { return float64(p.limiter.Limit()) }

func (p *Pace) wait(ctx context.Context) error {
	p.adjust(time.Now())
	return p.limiter.Wait(ctx)
}

func (p *Pace) adjust(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.since) < adjustEvery {
		return
	}
	next := nextRate(p.Rate(), p.wanted, p99(p.writes))
	p.limiter.SetLimitAt(now, rate.Limit(next))
	p.limiter.SetBurstAt(now, burst(next))
	p.writes, p.since = p.writes[:0], now
}

// nextRate is the rate after one at which most writes took no longer than p99.
func nextRate(current, wanted float64, p99 time.Duration) float64 {
	const down, up = 0.7, 1.25
	if p99 > slowWrite {
		return max(current*down, min(slowest, wanted))
	}
	return min(current*up, wanted)
}

// p99 is what all but one of a hundred are within, 0 of none. It sorts them.
func p99(of []time.Duration) time.Duration {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[(len(of)*99-1)/100]
}
