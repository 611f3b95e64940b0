package registry

import "time"

// A Valve is where the permits of a pool are used: it lets no job start without one. Its
// methods do not block, and none of them makes a permit that [Valve.Allow] has not given.
type Valve interface {
	// Allow says that so many permits may be used until then, by the larger of the wall
	// clock and the monotonic one, and not after. It may be fewer than are used: those run
	// on until the same time, and no job starts before enough have ended. The first call
	// makes a limit; what runs already counts as used, and runs on.
	Allow(permits int, until time.Time)
	// Use returns how many permits are used, by runs, jobs in hand and waiting pulls, of a
	// rate by the starts of the last period as well; how many are needed by these, but for
	// waiting pulls, and by jobs that are known to wait, be it more than could be used; and
	// how many could be used, those that are included.
	Use() (used, need, want int)
	// Lift ends the limit.
	Lift()
	// Lose takes all permits away, and whatever runs on one of a quota is to end.
	Lose()
}

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

// elapsed is the larger of monotonic and wall time: Go's monotonic clock stands still while
// a machine is suspended, and the wall clock may be set back.
func elapsed(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

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
	const most = 100 * time.Millisecond // what the valve adds to a period
	return (per + most + time.Second - 1).Truncate(time.Second)
}
