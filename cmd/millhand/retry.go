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
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// The outcomes of retry.
const (
	retried = "retried"
	notDead = "not_dead"
	gone    = "gone" // its record is
)

// A retrier is the command retry.
type retrier struct {
	due         due
	maxAttempts int
	alone       bool

	bulker bulker
}

func retryCommand(a *app) *cobra.Command {
	c := &retrier{bulker: bulker{kind: bulk.Retry}}
	return c.bulker.onJobs(a, spec{
		use:   "retry REF... | --filter FILTER",
		short: "Have dead jobs run again",
		long: "Have dead jobs run again, under their ids, from their first attempt. To retry a job twice is to\n" +
			"do it once. A step of a workflow is refused, since the workflow has counted its end: retry that, or\n" +
			"give --alone. A workflow goes on with its failed part.\n\n" +
			"Outcomes: retried, alive (another job has the id, exit 4), not_dead (exit 4), gone (its record was\n" +
			"deleted, exit 3), not_found (exit 3)." + bulkHelp,
		example: "  millhand retry email/0192f3c0-80b1-7f55-b0aa-112233445566\n  millhand retry email/welcome-42 --in 10m\n" +
			"  millhand retry --filter 'type:email error:\"450 4.7.1\"' --dry-run\n  millhand dead type:email -o name | millhand retry -",
		run: c.run,
	}, func(cmd *cobra.Command) {
		c.due.register(cmd)
		cmd.Flags().BoolVar(&c.alone, "alone", false, "have a step of a workflow run outside of it, which stays as it is")
		cmd.Flags().IntVar(&c.maxAttempts, "max-attempts", 0, "failed runs until the job is dead again (default as it was)")
	})
}

func (c *retrier) run(ctx context.Context, s *session, args []string) error {
	in, at, err := c.due.parse()
	if err != nil {
		return err
	}
	var opts []millhand.EnqueueOption
	switch {
	case !at.IsZero():
		opts = append(opts, millhand.WithRunAt(at))
	case in > 0:
		opts = append(opts, millhand.WithDelay(in))
	}
	if c.maxAttempts != 0 {
		opts = append(opts, millhand.WithMaxAttempts(c.maxAttempts))
	}
	if c.alone {
		opts = append(opts, millhand.Alone())
	}
	if c.maxAttempts < 0 || c.maxAttempts > job.MaxMaxAttempts {
		return cli.Usagef("--max-attempts %d: must be from 1 to %d, or 0 for as it was", c.maxAttempts, job.MaxMaxAttempts)
	}
	many, err := c.bulker.meant(args)
	if err != nil {
		return err
	}
	if many {
		again := &bulk.Retrier{Store: s.store, How: queue.Revival{MaxAttempts: c.maxAttempts, Delay: in, RunAt: at, Alone: c.alone}}
		return c.bulker.act(ctx, s, nil, func(time.Time) bulk.Action { return again })
	}
	refs, err := parseRefs(ctx, args, s.in)
	if err != nil {
		return err
	}
	return s.act(ctx, audit.Retry, c.bulker.dryRun, refs, func(ctx context.Context, r millhand.Ref) outcome { return s.retry(ctx, r, c.bulker.dryRun, opts) })
}

func (s *session) retry(ctx context.Context, r millhand.Ref, dryRun bool, opts []millhand.EnqueueOption) outcome {
	d, err := s.deadRecord(ctx, r)
	if errors.Is(err, millhand.ErrNotFound) {
		return s.notDead(ctx, r)
	}
	if err != nil {
		return failed(r, err)
	}
	if dryRun {
		return outcome{Ref: d.Ref, Outcome: wouldBe, State: millhand.Dead, Text: "would run again; it is dead (" + string(d.Reason) + "): " + d.LastError()}
	}
	again, err := s.client.Requeue(ctx, d, opts...)
	if duplicate, ok := errors.AsType[*millhand.DuplicateError](err); ok {
		return outcome{
			Ref: d.Ref, Outcome: refusedAlive, State: millhand.Dead, Error: err.Error(), code: cli.ExitRefused,
			Text: "another job has its id: " + refOf(duplicate.Existing).String(),
		}
	}
	if err != nil {
		return failed(d.Ref, err)
	}
	return outcome{Ref: again, Outcome: retried, State: millhand.Ready, Text: "runs again"}
}

// deadRecord returns the record of a dead job, the newest of its id.
func (s *session) deadRecord(ctx context.Context, r millhand.Ref) (d millhand.DeadJob, err error) {
	err = millhand.ErrNotFound
	for each, failed := range s.client.Dead(ctx, millhand.DeadFilter{Queue: r.Queue, Type: r.Type, ID: r.ID}) {
		d, err = each, failed
	}
	return d, err
}

// notDead says what a job is that has no record among the dead.
func (s *session) notDead(ctx context.Context, r millhand.Ref) outcome {
	info, err := s.client.Get(ctx, r)
	if err != nil {
		return failed(r, err)
	}
	o := outcome{Ref: info.Ref, Outcome: notDead, State: info.State, Text: "is not dead: it is " + string(info.State), code: cli.ExitRefused}
	if info.State == millhand.Dead {
		o.Outcome, o.code = gone, cli.ExitNotFound
		o.Text = "its record is gone: it was removed, or was kept for as long as dead jobs are"
	}
	return o
}
