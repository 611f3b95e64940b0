package slots

import "time"

// Elapsed is the larger of monotonic and wall time: Go's monotonic clock stands still while a
// machine is suspended, and the wall clock may be set back.
func Elapsed(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}
