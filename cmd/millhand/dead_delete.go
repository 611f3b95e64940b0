package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/cli"
)

// A remover is the command dead delete.
type remover struct {
	picker   picker
	all      bool
	dryRun   bool
	question question
}

func deadDeleteCommand(a *app) *cobra.Command {
	c := &remover{}
	cmd := a.command(spec{
		use:   "delete FILTER... | --all",
		short: "Remove dead jobs for good",
		long: "Remove the records of dead jobs for good: they cannot be retried any more. What is known of how they\n" +
			"ended stays, for as long as events are kept. It shows how many are meant, and asks.",
		example:  "  millhand dead delete type:email error:'450 4.7.1' --dry-run\n  millhand dead delete id:welcome-42\n  millhand dead delete --until 30d --yes",
		formats:  []format{formatText, formatJSON},
		args:     cobra.ArbitraryArgs,
		complete: termNames,
		run:      c.run,
	})
	cmd.Flags().BoolVar(&c.all, "all", false, "all dead jobs, without a filter")
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "only say how many would be removed")
	c.question.register(cmd)
	c.picker.register(a, cmd, deadKeys()...)
	return cmd
}

func (c *remover) run(ctx context.Context, s *session, args []string) error {
	f, err := c.picker.filter(args)
	if err != nil {
		return err
	}
	if c.all == (len(f.Terms) > 0) {
		return cli.Usagef("which dead jobs? want a FILTER, or --all without one")
	}
	var seqs []uint64 // of what was seen: another that dies meanwhile under the same id is not meant
	shown := s.table(column{title: "JOB"}, column{title: "REASON"}, column{title: "ERROR"})
	for d, err := range s.deadMatching(ctx, f) {
		if err != nil {
			return err
		}
		if len(seqs) < examplesShown {
			shown.add(plain(refOf(d.Ref).String()), plain(string(d.Reason)), plain(d.LastError()))
		}
		seqs = append(seqs, d.Seq)
	}
	if s.output == formatText && len(seqs) > 0 {
		if err := shown.write(s.out); err != nil {
			return err
		}
		if more := len(seqs) - examplesShown; more > 0 {
			if err := s.say(" … and %s more", thousands(int64(more))); err != nil {
				return err
			}
		}
	}
	if c.dryRun || len(seqs) == 0 {
		return c.report(s, len(seqs), 0)
	}
	if err := c.question.ask(ctx, s.app, len(seqs), "remove "+plural(len(seqs), "dead job", "dead jobs")+" for good"); err != nil {
		return err
	}
	if err := s.removeDead(ctx, seqs); err != nil {
		return err
	}
	return c.report(s, len(seqs), len(seqs))
}

// examplesShown is how many of the jobs that are meant are shown before it is asked.
const examplesShown = 5

func (c *remover) report(s *session, matched, done int) error {
	if s.output == formatJSON {
		return s.json(map[string]any{"matched": matched, "done": done, "dry_run": c.dryRun})
	}
	if c.dryRun {
		return s.say("would remove %s", plural(matched, "dead job", "dead jobs"))
	}
	return s.say("removed %s", plural(done, "dead job", "dead jobs"))
}

// removalsAtOnce is how many removals are in flight.
const removalsAtOnce = 64

func (s *session) removeDead(ctx context.Context, seqs []uint64) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(removalsAtOnce)
	for _, seq := range seqs {
		g.Go(func() error { return s.store.RemoveDead(ctx, seq) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("%w; some are removed: the same command goes on with the rest", err)
	}
	return nil
}
