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
