package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/worker"
)

// A cronPauser is the command cron pause or the command cron resume.
type cronPauser struct {
	resume bool
	reason string
	dryRun bool
}

func cronPauseCommand(a *app) *cobra.Command {
	p := &cronPauser{}
	cmd := a.cronPauser(p, spec{
		use:   "pause ENTRY...",
		short: "Keep the ticks of an entry from coming",
		long: "Keep the ticks of an entry from coming, until it is resumed. What was enqueued ahead of its time does\n" +
			"not run; what is due or runs goes on. A worker's file that puts the entry keeps it paused.",
		example: "  millhand cron pause nightly --reason 'database move'",
	})
	cmd.Flags().StringVar(&p.reason, "reason", "", "`TEXT` for those who see the pause")
	return cmd
}

func cronResumeCommand(a *app) *cobra.Command {
	return a.cronPauser(&cronPauser{resume: true}, spec{
		use:     "resume ENTRY...",
		short:   "End the pause of an entry",
		long:    "End the pause of an entry. It counts from now: ticks of the meantime do not come later.",
		example: "  millhand cron resume nightly",
	})
}

func (a *app) cronPauser(p *cronPauser, s spec) *cobra.Command {
	s.args, s.complete, s.run = cobra.MinimumNArgs(1), cronNames, p.run
	cmd := a.command(s)
	cmd.Flags().BoolVar(&p.dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func (p *cronPauser) run(ctx context.Context, s *session, args []string) error {
	if _, err := s.crons(ctx, args); err != nil { // all of them are there
		return err
	}
	word := "paused"
	if p.resume {
		word = "resumed"
	}
	for _, name := range args {
		if p.dryRun {
			continue
		}
		err := p.act(ctx, s, name)
		if errors.Is(err, registry.ErrNoEntry) {
			return exitWith(cli.ExitNotFound, notThere("entry", name, "it was removed meanwhile"))
		}
		if err != nil {
			return asUsage(err)
		}
		s.record(ctx, p.done(name))
	}
	if s.output == formatJSON {
		return s.json(map[string]any{word: args, "dry_run": p.dryRun})
	}
	if p.dryRun {
		word = "would be " + word
	}
	for _, name := range args {
		if err := s.say("%s: %s", name, word); err != nil {
			return err
		}
	}
	return nil
}

// done is what the audit keeps of it.
func (p *cronPauser) done(name string) audit.Record {
	if p.resume {
		return audit.Record{Action: audit.ResumeCron, Ref: name, Count: 1}
	}
	return audit.Record{Action: audit.PauseCron, Ref: name, Count: 1, Detail: p.reason}
}

func (p *cronPauser) act(ctx context.Context, s *session, name string) error {
	if p.resume {
		return s.registry.ResumeCron(ctx, name)
	}
	return worker.PauseCron(ctx, s.registry, s.store, name, p.reason)
}
