package supervisor

import "time"

// DefaultMaxBackoff bounds a Backoff that sets no Max.
const DefaultMaxBackoff = time.Minute

// Backoff spaces the restarts of a child that keeps ending. The delay doubles from First to Max
// with each restart in a row and is jittered down by up to a half, so that what failed together
// does not come back together. A child that ran for longer than the supervisor's Within starts over
// at First. OTP has no such thing: it restarts at once.
//
// A supervisor whose delays add up to more than Within never gives up: that is the choice between
// retrying for ever and escalating.
type Backoff struct {
	First time.Duration // before the first restart; zero: no delays at all
	Max   time.Duration // zero: a minute
}

// delay returns the wait before restart n in a row, n >= 1, for a random number in [0, 1).
func (b Backoff) delay(n int, random float64) time.Duration {
	if b.First == 0 {
		return 0
	}
	limit := b.Max
	if limit == 0 {
		limit = max(DefaultMaxBackoff, b.First)
	}
	d := b.First
	for ; n > 1 && d < limit; n-- {
		d += min(d, limit-d) // no overflow, however large the limit
	}
	return d - time.Duration(random*float64(d)/2)
}
