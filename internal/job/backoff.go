package job

import (
	"cmp"
	"math"
	"time"
)

// A Backoff says how long a failed job waits for its next attempt: Initial after
// the first failure, Factor times as long after each further one, at most Max,
// each spread by a share of Jitter to both sides. Zero fields mean 1 s, 2, 1 h and
// 0.2; a negative Jitter means none.
type Backoff struct {
	Initial time.Duration
	Factor  float64
	Max     time.Duration
	Jitter  float64
}

// WithDefaults returns b with its zero fields filled.
func (b Backoff) WithDefaults() Backoff {
	return Backoff{
		Initial: cmp.Or(b.Initial, time.Second),
		Factor:  cmp.Or(b.Factor, 2),
		Max:     cmp.Or(b.Max, time.Hour),
		Jitter:  cmp.Or(b.Jitter, 0.2),
	}
}

// Delay returns the wait after the given number of failed attempts, from 1.
// random is a number in [0, 1) and picks the place within the jitter.
func (b Backoff) Delay(attempts int, random float64) time.Duration {
	b = b.WithDefaults()
	d := float64(b.Initial) * math.Pow(b.Factor, float64(max(attempts, 1)-1))
	d = min(d, float64(b.Max)) // Pow may be +Inf, which min takes as well
	if b.Jitter > 0 {
		d *= 1 + b.Jitter*(2*random-1)
	}
	return time.Duration(min(max(d, 0), float64(MaxDelay)))
}

// MaxDelay is the longest time that a job can wait. Brokers compare times as nanoseconds in
// 64 bits, which end in April 2262: a time after that would be one long gone.
const MaxDelay = 100 * 365 * 24 * time.Hour

// Check returns an [*InvalidError] that names the rule which b breaks, if any.
func (b Backoff) Check() error {
	full := b.WithDefaults()
	switch { // the comparisons are so that NaN is refused
	case b.Initial < 0:
		return Invalid("initial", b.Initial, "must be more than 0")
	case b.Max < 0:
		return Invalid("max", b.Max, "must be more than 0")
	case b.Initial > full.Max: // a lower max alone is for all delays, the first as well
		return Invalid("initial", b.Initial, "is more than max, %v", full.Max)
	case !(full.Factor >= 1) || math.IsInf(full.Factor, 0):
		return Invalid("factor", b.Factor, "must be a number from 1")
	case !(full.Jitter < 1):
		return Invalid("jitter", b.Jitter, "must be from 0 to less than 1")
	}
	return nil
}
