package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/timespan"
)

// A watcher is the command watch.
type watcher struct {
	picker picker
	since  string
	most   int
}

func watchCommand(a *app) *cobra.Command {
	c := &watcher{}
	cmd := a.command(spec{
		use:   "watch [FILTER]...",
		short: "Events as they happen: the ends of runs",
		long: "Print events as they happen: each run of a job that ended, and how. A type that keeps nothing of\n" +
			"a success has none of those. It goes on until it is interrupted.",
		example:  "  millhand watch\n  millhand watch state:dead,retrying type:email --since 10m\n  millhand watch -o ndjson | jq -r .error",
		formats:  []format{formatText, formatNDJSON, formatName},
		args:     cobra.ArbitraryArgs,
		complete: termNames,
		run:      c.run,
	})
	cmd.Flags().StringVar(&c.since, "since", "", "begin with what happened since `TIME`, or for as long as DURATION (default now)")
	cmd.Flags().IntVarP(&c.most, "count", "n", 0, "end after `N` events (default never)")
	c.picker.register(a, cmd, filter.Queue, filter.Type, filter.State, filter.ID, filter.Worker, filter.Error)
	return cmd
}

func (c *watcher) run(ctx context.Context, s *session, args []string) error {
	f, err := c.picker.filter(args)
	if err != nil {
		return err
	}
	if err := refuseKeys(f, "an event has none", noneOfEvents()...); err != nil {
		return err
	}
	since, err := c.begin()
	if err != nil {
		return err
	}
	n := 0
	for e, err := range s.client.Events(ctx, since) {
		if ctx.Err() != nil {
			return exitWith(cli.ExitInterrupted, nil) // that is how it ends
		}
		if err != nil {
			return err
		}
		if !f.Match(matchedEvent(&e), time.Now()) {
			continue
		}
		if err := s.printEvent(&e); err != nil {
			return err
		}
		if n++; n == c.most {
			return nil
		}
	}
	return exitWith(cli.ExitInterrupted, nil)
}

// begin is the time from which events are wanted, zero for now.
func (c *watcher) begin() (time.Time, error) {
	if c.most < 0 {
		return time.Time{}, cli.Usagef("--count %d: must not be negative", c.most)
	}
	if c.since == "" {
		return time.Time{}, nil
	}
	switch d, err := filter.Duration(c.since); {
	case errors.Is(err, timespan.ErrTooLong):
		return time.Time{}, cli.Usagef("--since: %w", err)
	case err == nil && d >= 0:
		return time.Now().Add(-d), nil
	}
	at, err := filter.Time(c.since)
	if err == nil && at.After(time.Now()) {
		err = errors.New("that time has not come")
	}
	if err != nil {
		return at, cli.Usagef("--since: %w", err)
	}
	return at, nil
}

// matchedEvent is an event as a filter looks at it: its job, when it was written.
func matchedEvent(e *millhand.Event) *filter.Job {
	return &filter.Job{
		State: job.State(e.State), Queue: e.Queue, Type: e.Type, ID: e.ID, Life: e.Life, Worker: e.Worker, Reason: string(e.Reason), Error: e.Error,
		Attempt: e.Attempt, Since: e.Time, DueAt: e.RunAt, StartedAt: e.StartedAt, EndedAt: e.Time,
	}
}

func (s *session) printEvent(e *millhand.Event) error {
	r := refOf(e.Ref)
	switch s.output {
	case formatNDJSON, formatJSON:
		return s.jsonLine(e)
	case formatName:
		return s.say("%s", r)
	case formatText, formatCSV:
	}
	s.now = time.Now()
	kind := paint(string(e.Kind), eventStyle(e.Kind), s.colors())
	text := " " + s.moment(e.Time) + "  " + kind + "  " + cli.OneLine(r.String())
	if e.Attempt > 0 {
		text += line("  attempt %d", e.Attempt)
	}
	if e.Worker != "" {
		text += " on " + cli.OneLine(e.Worker)
	}
	if !e.StartedAt.IsZero() {
		text += ", " + span(e.Time.Sub(e.StartedAt))
	}
	if e.Reason != "" {
		text += ", " + cli.OneLine(string(e.Reason))
	}
	if e.Error != "" {
		text += ": " + cli.OneLine(e.Error)
	}
	_, err := s.out.Write([]byte(text + "\n"))
	return err
}

func eventStyle(k millhand.EventKind) style {
	switch k {
	case millhand.EventDead, millhand.EventLost:
		return red
	case millhand.EventRetrying, millhand.EventHandedBack:
		return yellow
	case millhand.EventSucceeded:
		return green
	case millhand.EventCancelled, millhand.EventSnoozed:
	}
	return normal
}
