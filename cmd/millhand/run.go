package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
)

// The outcomes of run.
const (
	startedEarly = "started_early"
	movedTo      = "moved"
	alreadyDue   = "already_due"
)

// A due is when a job is to run: what --in and --at say. The zero value is at once.
type due struct{ in, at string }

func (d *due) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.in, "in", "", "not now, but `DURATION` from now, by the broker's clock")
	cmd.Flags().StringVar(&d.at, "at", "", "not now, but at `TIME`, such as 2026-12-24T18:00:00+01:00")
}

func (d *due) given() bool { return d.in != "" || d.at != "" }

// parse returns what is given: a delay, or a time.
func (d *due) parse() (in time.Duration, at time.Time, err error) {
	switch {
	case d.in != "" && d.at != "":
		return 0, at, cli.Usagef("--in and --at: use one")
	case d.in != "":
		if in, err = filter.Duration(d.in); err == nil && in < 0 {
			err = errors.New("must not be negative")
		}
		if err != nil {
			return 0, at, cli.Usagef("--in: %w", err)
		}
	case d.at != "":
		if at, err = filter.Time(d.at); err != nil {
			return 0, at, cli.Usagef("--at: %w", err)
		}
	}
	return in, at, nil
}

// A starter is the command run.
type starter struct {
	due    due
	bulker bulker
}

func runCommand(a *app) *cobra.Command {
	c := &starter{bulker: bulker{kind: bulk.Start}}
	return c.bulker.onJobs(a, spec{
		use:   "run REF... | --filter FILTER",
		short: "Start jobs that wait for their time now, or move them",
		long: "Start jobs now that wait for their time or for their next attempt; with --in or --at they wait\n" +
			"until then. A job that is due already is left as it is.\n\n" +
			"Outcomes: started_early, moved, already_due, already_ended (exit 4), not_found (exit 3). To move a\n" +
			"job that is due is refused with already_due (exit 4)." + bulkHelp,
		example: "  millhand run report/monday\n  millhand run report/monday --in 1h30m\n  millhand list state:retrying type:import -o name | millhand run -\n" +
			"  millhand run --filter 'state:retrying type:import error:timeout'",
		run: c.run,
	}, c.due.register)
}

func (c *starter) run(ctx context.Context, s *session, args []string) error {
	in, at, err := c.due.parse()
	if err != nil {
		return err
	}
	many, err := c.bulker.meant(args)
	if err != nil {
		return err
	}
	if many {
		return c.bulker.act(ctx, s, nil, func(now time.Time) bulk.Action {
			if c.due.in != "" {
				at = now.Add(in)
			}
			return &bulk.Starter{Store: s.store, At: at}
		})
	}
	refs, err := parseRefs(ctx, args, s.in)
	if err != nil {
		return err
	}
	return s.act(ctx, audit.Run, c.bulker.dryRun, refs, func(ctx context.Context, r millhand.Ref) outcome {
		switch {
		case c.bulker.dryRun:
			return s.wouldRun(ctx, r)
		case c.due.given():
			return s.move(ctx, r, in, at)
		}
		return s.runNow(ctx, r)
	})
}

// waits is the outcome for a job that does not wait for its time, and false for one that does.
func (s *session) notWaiting(ctx context.Context, r millhand.Ref) (outcome, bool) {
	info, err := s.client.Get(ctx, r)
	switch {
	case err != nil:
		return failed(r, err), true
	case info.State.Final():
		return failed(info.Ref, &millhand.FinishedError{Ref: info.Ref, State: info.State}), true
	case info.RunAt.IsZero():
		return outcome{Ref: info.Ref, Outcome: alreadyDue, State: info.State, Text: "is due already: it waits for a worker, or runs"}, true
	}
	return outcome{Ref: info.Ref, State: info.State, RunAt: info.RunAt.UTC(), Text: s.moment(info.RunAt)}, false
}

func (s *session) wouldRun(ctx context.Context, r millhand.Ref) outcome {
	o, not := s.notWaiting(ctx, r)
	if !not {
		o.Outcome, o.Text = wouldBe, "would not wait until "+o.Text
	}
	return o
}

func (s *session) runNow(ctx context.Context, r millhand.Ref) outcome {
	o, not := s.notWaiting(ctx, r)
	if not {
		return o
	}
	if err := s.client.RunNow(ctx, o.Ref); err != nil {
		return failed(o.Ref, err)
	}
	return outcome{Ref: o.Ref, Outcome: startedEarly, State: millhand.Ready, RunAt: o.RunAt, Text: "runs now, and not at " + o.Text}
}

func (s *session) move(ctx context.Context, r millhand.Ref, in time.Duration, at time.Time) outcome {
	if at.IsZero() {
		q, err := job.QueueName(r.Queue)
		if err != nil {
			return failed(r, asUsage(err))
		}
		if at, err = s.store.Now(ctx, q); err != nil {
			return failed(r, err)
		}
		at = at.Add(in)
	}
	if err := s.client.Move(ctx, r, at); errors.Is(err, millhand.ErrNotScheduled) {
		return outcome{Ref: r, Outcome: alreadyDue, Error: err.Error(), Text: "is due already, or within a second", code: cli.ExitRefused}
	} else if err != nil {
		return failed(r, err)
	}
	return outcome{Ref: r, Outcome: movedTo, RunAt: at.UTC(), Text: "moved to " + s.moment(at)}
}
