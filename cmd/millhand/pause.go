package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
)

// A pauser is the command pause or the command resume.
type pauser struct {
	resume bool
	all    bool
	dryRun bool

	length string
	reason string
}

func pauseCommand(a *app) *cobra.Command {
	p := &pauser{}
	cmd := a.pauseCommand(p, spec{
		use:   "pause QUEUE... | --all",
		short: "Keep workers from taking jobs of a queue",
		long: "Keep all workers from taking jobs of a queue, until it is resumed or --for is over: the broker ends\n" +
			"that, whoever is there. Workers heed it within a second; what runs goes on to its end, and jobs may\n" +
			"still be enqueued. Of a queue that is paused, reason and end are changed.",
		example: "  millhand pause default --for 1h --reason 'database move'\n  millhand pause --all",
	})
	cmd.Flags().StringVar(&p.length, "for", "0s", "how long: `DURATION`; 0s: until it is resumed")
	cmd.Flags().StringVar(&p.reason, "reason", "", "`TEXT` for those who see the pause")
	return cmd
}

func resumeCommand(a *app) *cobra.Command {
	return a.pauseCommand(&pauser{resume: true}, spec{
		use:     "resume QUEUE... | --all",
		short:   "End the pause of a queue",
		long:    "End the pause of a queue. Of one that is not paused it does nothing.",
		example: "  millhand resume default\n  millhand resume --all",
	})
}

func (a *app) pauseCommand(p *pauser, s spec) *cobra.Command {
	s.args, s.complete, s.run = cobra.ArbitraryArgs, queueNames, p.run
	cmd := a.command(s)
	cmd.Flags().BoolVar(&p.all, "all", false, "all queues")
	cmd.Flags().BoolVar(&p.dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func (p *pauser) run(ctx context.Context, s *session, args []string) error {
	length, err := p.duration()
	if err != nil {
		return err
	}
	queues, err := p.queues(ctx, s, args)
	if err != nil {
		return err
	}
	for _, q := range queues {
		if p.dryRun {
			continue
		}
		if err := p.act(ctx, s, q, length); err != nil {
			return asUsage(err)
		}
	}
	if s.output == formatJSON {
		return s.json(map[string]any{p.word(): queues, "dry_run": p.dryRun})
	}
	for _, q := range queues {
		word := p.word()
		if p.dryRun {
			word = "would be " + word
		}
		if err := s.say("%s: %s", q, word); err != nil {
			return err
		}
	}
	return nil
}

func (p *pauser) act(ctx context.Context, s *session, queue string, length time.Duration) error {
	if p.resume {
		return s.client.Resume(ctx, queue)
	}
	return s.registry.PauseFor(ctx, queue, p.reason, length)
}

// duration is what --for says.
func (p *pauser) duration() (time.Duration, error) {
	if p.resume {
		return 0, nil
	}
	d, err := filter.Duration(p.length)
	if err != nil || d < 0 {
		return 0, cli.Usagef("--for %s: want a duration, such as 90s, 1h30m or 7d", p.length)
	}
	return d, nil
}

func (p *pauser) word() string {
	if p.resume {
		return "resumed"
	}
	return "paused"
}

// queues are those that are meant.
func (p *pauser) queues(ctx context.Context, s *session, args []string) ([]string, error) {
	if p.all == (len(args) > 0) {
		return nil, cli.Usagef("which QUEUE? name some, or give --all")
	}
	for _, q := range args {
		if err := millhand.CheckQueue(q); err != nil {
			return nil, asUsage(err)
		}
	}
	snap, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	there := []string{}
	for _, q := range snap.Queues {
		there = append(there, q.Name)
	}
	if p.all {
		return there, nil
	}
	for _, q := range args {
		if !slices.Contains(there, q) && !p.resume {
			s.warn("there is no queue %s yet, only %s; it is paused from its first job on", q, strings.Join(there, ", "))
		}
	}
	return args, nil
}
