package queue

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

// A Retention says how long what is over is kept. What is zero is left as it is, or is the default
// of a stream that is made.
type Retention struct {
	Results time.Duration // of the ends of jobs, with their results
	Events  int64         // how many of all events
	Dead    time.Duration // of dead jobs
}

// Bounds of a retention. Events keep two holders of one job apart, so they outlive a retry.
const (
	MinKept       = time.Hour
	MinKeptEvents = 1_000
)

// Check returns a [*job.InvalidError] for what is too little.
func (r Retention) Check() error {
	switch {
	case r.Results != 0 && r.Results < MinKept:
		return job.Invalid("results kept", r.Results, "must be at least %v", MinKept)
	case r.Events != 0 && r.Events < MinKeptEvents:
		return job.Invalid("events kept", r.Events, "must be at least %d", MinKeptEvents)
	case r.Dead != 0 && r.Dead < MinKept:
		return job.Invalid("dead jobs kept", r.Dead, "must be at least %v", MinKept)
	}
	return nil
}

// SetRetention changes how long the streams keep what is over, and leaves the rest of them as it
// is. The error may be a [*job.InvalidError].
func (s *Store) SetRetention(ctx context.Context, r Retention) error {
	if err := r.Check(); err != nil || r == (Retention{}) {
		return err
	}
	if err := s.ensureCommon(ctx); err != nil {
		return err
	}
	if err := s.keep(ctx, s.names.eventStream(), r.Results, r.Events); err != nil {
		return err
	}
	return s.keep(ctx, s.names.deadStream(), r.Dead, 0)
}

// keep has a stream keep its messages for an age and up to a number; 0: as it is.
func (s *Store) keep(ctx context.Context, name string, age time.Duration, msgs int64) error {
	var before, after jetstream.StreamConfig
	err := s.client.Edit(ctx, name, func(c *jetstream.StreamConfig) bool {
		before = *c
		c.MaxAge, c.MaxMsgs = cmp.Or(age, c.MaxAge), cmp.Or(msgs, c.MaxMsgs)
		after = *c
		return before.MaxAge != after.MaxAge || before.MaxMsgs != after.MaxMsgs
	})
	if err != nil {
		return wrap(err, "set how long %s keeps its messages", name)
	}
	if before.MaxAge != after.MaxAge || before.MaxMsgs != after.MaxMsgs {
		s.log.InfoContext(ctx, "how long a stream keeps its messages was changed", slog.String("stream", name),
			slog.Duration("max_age", after.MaxAge), slog.Duration("max_age_before", before.MaxAge),
			slog.Int64("max_msgs", after.MaxMsgs), slog.Int64("max_msgs_before", before.MaxMsgs))
	}
	return nil
}

// shortReach is how far the history of jobs reaches at least if nothing is said about it.
const shortReach = time.Hour

// reachOf returns since when the events are known, zero if that is as long ago as they are to be
// kept, or longer than an hour: the stream drops events since there are too many of them, or is
// to keep none for longer.
func reachOf(info *jetstream.StreamInfo, now time.Time) (since time.Time) {
	switch age, first := info.Config.MaxAge, info.State.FirstTime; {
	case usedOf(info) >= atLimit && now.Sub(first) < shortReach:
		return first
	case age > 0 && age < shortReach:
		return now.Add(-age)
	}
	return time.Time{}
}

// HistorySince is since when the events of jobs are known, by the last look at their stream; zero
// if that is longer than an hour ago, or nothing was dropped yet.
func (s *Store) HistorySince() time.Time {
	at := s.historySince.Load()
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}

// noteReach keeps what the look at the events' stream has shown, and tells of it.
func (c *StreamCheck) noteReach(ctx context.Context, info *jetstream.StreamInfo) {
	since := reachOf(info, time.Now())
	if since.IsZero() {
		c.store.historySince.Store(0)
		return
	}
	c.store.historySince.Store(since.UnixNano())
	if !c.due("reach") {
		return
	}
	c.store.log.WarnContext(ctx, "the history of jobs reaches back for less than an hour: what ended before is not known any more, results included; keep more with --keep-events (about 200 B of the broker's memory each) or --keep-results",
		slog.String("stream", info.Config.Name), slog.Time("since", since.UTC()), slog.Int64("max_msgs", info.Config.MaxMsgs), slog.Duration("max_age", info.Config.MaxAge))
}
