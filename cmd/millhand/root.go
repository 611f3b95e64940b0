package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/cli"
)

const examples = `  millhand status                                  is anything wrong?
  millhand list state:ready type:import            the jobs that wait, in order
  millhand why import/0192f3c0-80b1-7f55-b0aa-112233445566
  millhand dead error:"connection refused" -n 10   the newest dead jobs of one cause
  millhand dead type:email -o name | millhand retry -
  millhand pause default --for 1h --reason 'database move'
  millhand workers -o json                         for scripts`

const about = `Show what queues, jobs and workers do, and change it. It talks to the broker alone, so it
works when all workers are down, and it never starts a broker.

A job is named as ID, TYPE/ID or QUEUE/TYPE/ID; - reads such names from standard input. A
filter is a list of terms such as state:dead type:email,sms error:"connection refused"
age:..24h -meta.customer:42; its keys are in docs/millhand.md. Durations are as in 90s, 1h30m
or 7d, times as in 2026-12-24T18:00:00+01:00.`

type streams struct {
	in       io.Reader
	out, err io.Writer
}

func execute(ctx context.Context, args []string, s streams) int {
	return cli.Execute(ctx, newRoot(&app{streams: s, output: formatText, color: colorAuto}), flagOfTerm(args), s.err)
}

// newRoot is the command with all that is below it.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:     "millhand COMMAND",
		Short:   "Operate Millhand",
		Long:    about,
		Example: examples,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(cmd, args[0])
			}
			return cmd.Help()
		},
		DisableFlagsInUseLine: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true // there is one of our own
	root.SetOut(a.out)
	root.SetHelpFunc(showHelp)
	a.register(root)
	cli.AddVersion(root)
	for _, g := range groups() {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range commands(a)[g.id] {
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	return root
}
