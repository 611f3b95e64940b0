package main

import (
	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/filter"
)

func deadCommand(a *app) *cobra.Command {
	c := &lister{dead: true}
	cmd := a.command(spec{
		use:   "dead [FILTER]...",
		short: "Dead jobs; group, export and delete them",
		long: "List dead jobs, the newest first. They are kept whole until they are retried, deleted, or too old.\n" +
			"Age and times of a filter are about their deaths.",
		example: "  millhand dead\n  millhand dead groups\n  millhand dead type:email error:'connection refused' -n 10\n  millhand dead --since 1h -o name | millhand retry -",
		formats: ofList(),
		args:    cobra.ArbitraryArgs, complete: termNames, run: c.run,
	})
	c.register(cmd)
	c.picker.register(a, cmd, filter.Queue, filter.Type, filter.ID, filter.Reason, filter.Error, filter.Worker, filter.Since, filter.Until)
	return withCommands(cmd, deadGroupsCommand(a), deadExportCommand(a), deadDeleteCommand(a))
}
