package registry

import "time"

// Defaults and bounds of the lives of grants.
const (
	DefaultTTL = 10 * time.Second
	minTTL     = 2 * time.Second
	maxTTL     = time.Hour
)

// Margin is how long before its key can expire a node gives up what it holds: what runs
// needs time to end, and clocks need not run at exactly the same speed. A ttl of 0 is
// [DefaultTTL].
func Margin(ttl time.Duration) time.Duration {
	if ttl == 0 {
		ttl = DefaultTTL
	}
	return max(ttl/5, time.Second)
}

// usable is how long a grant may be used, from when its confirmed write was sent. The
// broker starts its own clock later, when it stores the write, so the node always gives up
// first.
func usable(ttl time.Duration) time.Duration { return ttl - Margin(ttl) }

// keyTTL is the TTL of a grant's key. The starts that a crashed node made under a rate count
// for their whole period.
func keyTTL(ttl time.Duration, limit Limit) time.Duration {
	if limit.Per == 0 {
		return ttl
	}
	return ttl + aging(limit.Per)
}

// aging is how long a start counts under a rate, in whole seconds as TTLs are.
func aging(per time.Duration) time.Duration {
	const most = 100 * time.Millisecond // what a limiter adds to a period
	return (per + most + time.Second - 1).Truncate(time.Second)
}
