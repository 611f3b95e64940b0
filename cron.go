package millhand

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/worker"
)

// A Cron is an entry of a schedule: a job that is enqueued at each of its ticks, once, however many
// workers there are. docs/cron.md says what happens when clocks change, when nobody is there to
// enqueue it, and when the entry is edited.
type Cron struct {
	Name     string          // as a type's
	Schedule string          // "30 2 * * *", "@daily" or "@every 90s"
	Zone     string          // of the tz database, such as "Europe/Amsterdam"; default UTC
	Args     Args            // at most 64 KiB
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

// A CronInfo is an entry and how far it has come. Times are UTC.
type CronInfo struct {
	Cron
	Type, Queue string // of its jobs

	NextTick time.Time // zero if none is to come, as while it is paused
	// LastTick is the latest that has come since the entry was put or edited, be it missed or
	// skipped: zero if there was none.
	LastTick time.Time

	// Missed are ticks that nobody enqueued in time, as far as counted. It is no measure of how many did
	// not run: a tick whose job was enqueued and started too late is not among them, so it stays 0 while
	// a queue is paused or behind. Such a job is [Cancelled] with [ReasonMissed], and has an event.
	Missed    int
	MissedAt  time.Time // when that was counted last
	Skipped   int       // ticks that were left out, since the job of an earlier one was alive
	SkippedAt time.Time // the last of them
}

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

// Check returns an [*InvalidError] if c breaks a rule. [Client.PutCron] checks the same.
func (c Cron) Check() error {
	_, err := c.entry()
	return publicError(err)
}

// PutCron puts an entry, which replaces the one of that name. An entry that is there as it is stays
// as it is, so it may be put at every start of a program. Otherwise what was enqueued ahead of the
// entry as it was does not run any more, unless it is due by now. It returns an [*InvalidError] for an
// entry that breaks a rule, and for a new one where there are 10,000. The entry's jobs are enqueued by the workers that run, of whatever queues
// and types.
func (c *Client) PutCron(ctx context.Context, e Cron) error {
	entry, err := e.entry()
	if err != nil {
		return publicError(err)
	}
	return publicError(worker.PutCron(ctx, c.registry, c.store, entry))
}

// DeleteCron removes an entry and the job that waits for its next tick. A job that is due or runs is
// left alone. It returns [ErrNotFound] if there is no such entry.
func (c *Client) DeleteCron(ctx context.Context, name string) error {
	err := worker.RemoveCron(ctx, c.registry, c.store, name)
	if errors.Is(err, registry.ErrNoEntry) {
		return fmt.Errorf("%w: there is no entry %s", ErrNotFound, name)
	}
	return publicError(err)
}

// Crons returns all entries, sorted by name.
func (c *Client) Crons(ctx context.Context) ([]CronInfo, error) {
	entries, err := c.registry.Crons(ctx)
	if err != nil {
		return nil, publicError(err)
	}
	infos := make([]CronInfo, 0, len(entries))
	for _, e := range entries {
		cursor, now, err := c.store.CronCursor(ctx, e.Job.Queue, e.Name)
		if err != nil {
			return nil, publicError(err)
		}
		last, next := e.Around(cursor, now)
		if e.Paused != nil {
			next = time.Time{}
		}
		infos = append(infos, CronInfo{
			Cron: cronOf(e), Type: e.Job.Type, Queue: e.Job.Queue,
			NextTick: next, LastTick: last,
			Missed: cursor.Missed, MissedAt: cursor.MissedAt, Skipped: cursor.Skipped, SkippedAt: cursor.SkippedAt,
		})
	}
	return infos, nil
}

// cronOf is an entry as it was put. Put again it is no change.
func cronOf(e registry.Cron) Cron {
	common := e.Job
	return Cron{
		Name: e.Name, Schedule: e.Schedule.String(), Zone: e.Schedule.ZoneName(),
		Args: Raw{Name: common.Type, Payload: common.Payload},
		Options: []EnqueueOption{func(o *enqueueOptions) {
			o.Queue, o.MaxAttempts, o.Timeout, o.Expires = common.Queue, common.MaxAttempts, common.Timeout, common.Expires
			o.Meta, o.Trace = maps.Clone(common.Meta), maps.Clone(common.Trace)
		}},
		Overlap: Overlap(e.Overlap), CatchUp: CatchUp(e.CatchUp), Grace: e.Grace,
		since: e.Schedule.Since(),
	}
}

// entry is c as the registry knows it, checked.
func (c Cron) entry() (registry.Cron, error) {
	if err := job.CheckCron(c.Name); err != nil {
		return registry.Cron{}, err
	}
	schedule, err := c.schedule(time.Time{})
	if err != nil {
		return registry.Cron{}, err
	}
	o, err := newOptions(c.Args, c.Options)
	if err != nil {
		return registry.Cron{}, err
	}
	if err := o.checkCron(); err != nil {
		return registry.Cron{}, err
	}
	e := registry.Cron{
		Entry: cron.Entry{
			Name: c.Name, Schedule: schedule, Grace: cmp.Or(c.Grace, cron.DefaultGrace),
			Overlap: cron.Overlap(cmp.Or(c.Overlap, SkipOverlap)), CatchUp: cron.CatchUp(cmp.Or(c.CatchUp, CatchUpOne)),
		},
		Job: job.Record{
			Queue: o.Queue, Type: o.Type, Payload: o.Payload, MaxAttempts: o.MaxAttempts,
			Timeout: o.Timeout, Expires: o.Expires, Meta: o.Meta, Trace: o.Trace,
		},
	}
	return e, e.Check()
}

// checkCron refuses what an entry decides itself.
func (o *enqueueOptions) checkCron() error {
	switch {
	case o.chosenID:
		return &job.InvalidError{What: "an entry's options", Rule: "must not choose an id: that comes from the entry"}
	case o.delayed, !o.runAt.IsZero():
		return &job.InvalidError{What: "an entry's options", Rule: "must not choose a time: that comes from its schedule"}
	case o.rejectAtQuota:
		return &job.InvalidError{What: "an entry's options", Rule: "must not refuse a job at a quota: its jobs wait"}
	}
	return nil
}

// schedule reads the schedule, which counts from a time if no other is known.
func (c Cron) schedule(since time.Time) (cron.Schedule, error) {
	s, err := cron.Parse(c.Schedule, c.Zone, cmp.Or(c.since, since))
	if i, ok := errors.AsType[*cron.InvalidError](err); ok {
		return s, (*job.InvalidError)(i)
	}
	return s, err
}
