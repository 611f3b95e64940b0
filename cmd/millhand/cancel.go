package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/timespan"
)

// The outcomes of a cancel.
const (
	beforeStart  = "before_start"
	whileRunning = "while_running"
	byBroker     = "by_broker" // workers did not answer: the order is stored, and holds
	notEnded     = "not_ended" // its worker was told, and it runs on
)

// A canceller is the command cancel.
type canceller struct {
	grace  string
	reason string
	wait   string
	bulker bulker
}

func cancelCommand(a *app) *cobra.Command {
	c := &canceller{bulker: bulker{kind: bulk.Cancel}}
	return c.bulker.onJobs(a, spec{
		use:   "cancel REF... | --filter FILTER",
		short: "End jobs that are alive",
		long: "End jobs that are alive, whatever they wait for. Of one that runs the handler is told to end, and\n" +
			"its end is waited for. It cannot be undone, so for several jobs it asks.\n\n" +
			"Outcomes: before_start, while_running, by_broker (a worker did not answer: the order holds when it\n" +
			"returns), not_ended (exit 5), already_ended (exit 4), not_found (exit 3)." + bulkHelp + " Of jobs that run the end is not waited for.\n" +
			"Those that wait come first, so that none of them starts in the room of one that ran. What starts before\n" +
			"its turn is told to end, too; to have none of it start, pause the queue or the type before.",
		example: "  millhand cancel import/0192f3c0-80b1-7f55-b0aa-112233445566\n  millhand cancel 0192f3c0-80b1-7f55-b0aa-112233445566 --grace 5s --reason 'wrong file'\n" +
			"  millhand list type:import state:running -o name | millhand cancel - --yes\n" +
			"  millhand cancel --filter 'state:ready,scheduled type:import meta.customer:42'",
		run: c.run,
	}, c.flags)
}

func (c *canceller) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.grace, "grace", "10s", "how long a handler has to return before it is given up: `DURATION`, to 1h")
	cmd.Flags().StringVar(&c.reason, "reason", "", "`TEXT` that is kept with the job's end")
	cmd.Flags().StringVar(&c.wait, "wait", "30s", "how long the end of a job that runs is waited for: `DURATION`; 0s: not at all")
}

func (c *canceller) run(ctx context.Context, s *session, args []string) error {
	grace, err := filter.Duration(c.grace)
	switch {
	case errors.Is(err, timespan.ErrTooLong):
		return cli.Usagef("--grace %s: must be from 0s to %v", c.grace, job.MaxGrace)
	case err != nil:
		return cli.Usagef("--grace: %w", err)
	}
	wait, err := filter.Duration(c.wait)
	if errors.Is(err, timespan.ErrTooLong) {
		return cli.Usagef("--wait: %w", err)
	}
	if err != nil || wait < 0 {
		return cli.Usagef("--wait %s: want a duration, such as 30s", c.wait)
	}
	opts := []millhand.CancelOption{millhand.WithGrace(grace)}
	if c.reason != "" {
		opts = append(opts, millhand.WithReason(c.reason))
	}
	many, err := c.bulker.meant(args)
	if err != nil {
		return err
	}
	if many {
		return c.many(ctx, s, grace)
	}
	refs, err := parseRefs(ctx, args, s.in)
	if err != nil {
		return err
	}
	if len(refs) > 1 && !c.bulker.dryRun { // who names one job means it
		if err := c.bulker.question.ask(ctx, s.app, len(refs), "cancel "+plural(len(refs), "job", "jobs")); err != nil {
			return err
		}
	}
	return s.act(ctx, audit.Cancel, c.bulker.dryRun, refs, func(ctx context.Context, r millhand.Ref) outcome {
		if c.bulker.dryRun {
			return s.wouldCancel(ctx, r)
		}
		return s.cancel(ctx, r, wait, opts)
	})
}

func (c *canceller) many(ctx context.Context, s *session, grace time.Duration) error {
	switch {
	case grace < 0 || grace > job.MaxGrace:
		return cli.Usagef("--grace %s: must be from 0s to %v", c.grace, job.MaxGrace)
	case len(c.reason) > job.MaxOrderReason:
		return cli.Usagef("--reason: has %d bytes, and at most %d are kept", len(c.reason), job.MaxOrderReason)
	}
	order := job.Order{Grace: grace, Reason: c.reason, By: s.by}
	return c.bulker.act(ctx, s, nil, func(time.Time) bulk.Action {
		return &bulk.Canceller{Store: s.store, Orders: s.registry, Order: order}
	})
}

func (s *session) wouldCancel(ctx context.Context, r millhand.Ref) outcome {
	info, err := s.client.Get(ctx, r)
	switch {
	case err != nil:
		return failed(r, err)
	case info.State.Final():
		return failed(info.Ref, &millhand.FinishedError{Ref: info.Ref, State: info.State})
	}
	return outcome{Ref: info.Ref, Outcome: wouldBe, State: info.State, Text: "would be cancelled, is " + string(info.State)}
}

func (s *session) cancel(ctx context.Context, r millhand.Ref, wait time.Duration, opts []millhand.CancelOption) outcome {
	began := time.Now()
	told, err := s.client.Cancel(ctx, r, opts...)
	if err != nil {
		return failed(r, err)
	}
	o := outcome{Ref: told.Ref, Outcome: beforeStart, State: millhand.Cancelled, Worker: told.Worker, Batch: told.Batch, Text: "cancelled before it started"}
	switch {
	case told.Worker != "" && wait == 0:
		o.Outcome, o.State = whileRunning, millhand.Running
		o.Text = told.Worker + " has told it to end"
		if told.Batch {
			o.Text = inBatch(told.Worker)
		}
	case told.Worker != "":
		return s.awaitCancelled(ctx, o, began, wait)
	case len(told.Unanswered) > 0:
		o.Outcome = byBroker
		o.Text = "cancelled; " + strings.Join(told.Unanswered, ", ") + " did not answer: if one of them has it in hand, it ends when that returns"
	}
	return o
}

func inBatch(worker string) string {
	return worker + " runs it in a batch: it ends with that, and is not retried"
}

// awaitCancelled waits for the end of a job that was told to end, or that ends with its batch.
func (s *session) awaitCancelled(ctx context.Context, o outcome, began time.Time, wait time.Duration) outcome {
	bounded, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	info, err := s.client.Await(bounded, o.Ref)
	took := time.Since(began)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		o.Outcome, o.State, o.code = notEnded, millhand.Running, cli.ExitTimeout
		o.Text = o.Worker + " has told it to end, and it has not within " + span(wait) + "; it is given up after its grace"
		if o.Batch { // whose other jobs go on, so nobody was told and no grace runs
			o.Text = inBatch(o.Worker) + "; it has not ended within " + span(wait)
		}
		return o
	case info.State == "":
		return failed(o.Ref, err)
	}
	o.Outcome, o.State, o.TookMS = whileRunning, info.State, took.Milliseconds()
	o.Text = "cancelled on " + o.Worker + " after " + span(took)
	switch {
	case info.State == millhand.Cancelled:
	case o.Batch:
		o.Text = string(info.State) + " on " + o.Worker + " after " + span(took) + ", with the batch that it ran in"
	default:
		o.Text = string(info.State) + " on " + o.Worker + " after " + span(took) + ", though it was told to end"
	}
	return o
}
