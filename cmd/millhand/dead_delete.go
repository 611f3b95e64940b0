package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/bulk"
)

// A remover is the command dead delete.
type remover struct{ bulker bulker }

func deadDeleteCommand(a *app) *cobra.Command {
	c := &remover{bulker: bulker{kind: bulk.Delete}}
	cmd := a.command(spec{
		use:   "delete FILTER... | --all",
		short: "Remove dead jobs for good",
		long: "Remove the records of dead jobs for good: they cannot be retried any more. What is known of how they\n" +
			"ended stays, for as long as events are kept. It shows how many are meant, and asks. Ctrl-C stops it,\n" +
			"and it prints a cursor to go on with.",
		example:  "  millhand dead delete type:email error:'450 4.7.1' --dry-run\n  millhand dead delete id:welcome-42\n  millhand dead delete --until 30d --yes",
		formats:  []format{formatText, formatJSON},
		args:     cobra.ArbitraryArgs,
		complete: termNames,
		run:      c.run,
	})
	c.bulker.register(a, cmd, deadKeys()...)
	return cmd
}

func (c *remover) run(ctx context.Context, s *session, args []string) error {
	return c.bulker.act(ctx, s, args, func(time.Time) bulk.Action { return &bulk.Deleter{Store: s.store} })
}
