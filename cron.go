package millhand

import (
	"cmp"
	"errors"
	"time"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
)

// A Cron is an entry of a schedule: a job that is enqueued at each of its ticks, once, however many
// workers there are. docs/cron.md says what happens when clocks change, when nobody is there to
// enqueue it, and when the entry is edited.
type Cron struct {
	Name     string // as a type's
	Schedule string // "30 2 * * *", "@daily" or "@every 90s"
	Zone     string // of the tz database, such as "Europe/Amsterdam"; default UTC
	Args     Args
	Options  []EnqueueOption // not those that choose an id, a time or a quota

	Overlap Overlap       // default [SkipOverlap]
	CatchUp CatchUp       // default [CatchUpOne]
	Grace   time.Duration // a tick that starts more than this after its time is late; default 1 min

	since time.Time // that "@every" counts from; zero while that is not known
}

// An Overlap says what becomes of a tick while the job of an earlier one is alive.
type Overlap string

// The overlaps.
const (
	// SkipOverlap leaves the tick out, and counts it. All jobs of the entry have its name as id.
	SkipOverlap Overlap = "skip"
	// AllowOverlap gives each tick a job of its own, with an id that ends in the tick's time.
	AllowOverlap Overlap = "allow"
)

// A CatchUp says what becomes of a tick whose job could not start within the entry's Grace, since no
// worker was there, or its queue was paused or full.
type CatchUp string

// The catch-ups.
const (
	CatchUpSkip CatchUp = "skip" // it is missed
	CatchUpOne  CatchUp = "one"  // it runs if no later tick has come, else it is missed
	CatchUpAll  CatchUp = "all"  // it runs; needs [AllowOverlap]. After an outage the latest 100 do
)

// Next returns the first n ticks after a time, in the schedule's zone. They come from the schedule
// alone: nothing is asked. "@every" counts from when the entry was put, which is known of one that
// [Client.Crons] returned; of any other it counts from after. The error is an [*InvalidError].
func (c Cron) Next(after time.Time, n int) ([]time.Time, error) {
	s, err := c.schedule(after)
	if err != nil {
		return nil, publicError(err)
	}
	ticks := make([]time.Time, 0, max(n, 0))
	for range n {
		if after = s.Next(after); after.IsZero() {
			break
		}
		ticks = append(ticks, after.In(s.Zone()))
	}
	return ticks, nil
}

// schedule reads the schedule, which counts from a time if no other is known.
func (c Cron) schedule(since time.Time) (cron.Schedule, error) {
	s, err := cron.Parse(c.Schedule, c.Zone, cmp.Or(c.since, since))
	return s, invalidCron(err)
}

// invalidCron makes an error about an entry one like those about jobs.
func invalidCron(err error) error {
	if i, ok := errors.AsType[*cron.InvalidError](err); ok {
		return (*job.InvalidError)(i)
	}
	return err
}
