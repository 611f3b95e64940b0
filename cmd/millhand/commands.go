package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
)

// The groups of commands in the help.
const (
	looking  = "look"
	acting   = "act"
	limiting = "limit"
	others   = "other"
)

// commands is the table of all commands: each is a file of its own.
func commands(a *app) map[string][]*cobra.Command {
	return map[string][]*cobra.Command{
		looking:  {statusCommand(a), topCommand(a), queuesCommand(a), typesCommand(a), listCommand(a), deadCommand(a), inspectCommand(a), whyCommand(a), workersCommand(a), runningCommand(a), statsCommand(a), autoscaleCommand(a), checkCommand(a), verifyCommand(a), watchCommand(a), cronCommand(a), workflowCommand(a), auditCommand(a)},
		acting:   {retryCommand(a), runCommand(a), cancelCommand(a)},
		limiting: {pauseCommand(a), resumeCommand(a), quotaCommand(a), rateCommand(a)},
		others:   {webCommand(a), backupCommand(a), restoreCommand(a), completionCommand(a), versionCommand(a), drillWorkerCommand(a)},
	}
}

// A spec is a command: what it is called, what it says of itself, and what it does.
type spec struct {
	use      string // the name, then the arguments
	short    string // a line of the list of commands
	long     string // what there is to know besides; empty: nothing
	example  string // at least one call
	formats  []format
	args     cobra.PositionalArgs                           // nil: none
	complete func(ctx context.Context, s *session) []string // candidates for an argument; nil: none
	run      func(ctx context.Context, s *session, args []string) error
}

// command makes a command of a spec.
func (a *app) command(s spec) *cobra.Command {
	cmd := &cobra.Command{
		Use: s.use, Short: s.short, Long: s.long, Example: s.example, Args: s.args,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.check(s.formats); err != nil {
				return err
			}
			ctx := cmd.Context()
			session, err := a.connect(ctx)
			if err != nil {
				return err
			}
			defer session.close()
			return s.run(ctx, session, args)
		},
	}
	if s.args == nil {
		cmd.Args = cobra.NoArgs
	}
	cmd.ValidArgsFunction = a.candidates(s.complete)
	cmd.Flags().SortFlags = false
	return cmd
}

// withCommands gives a command others below it.
func withCommands(cmd *cobra.Command, below ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(below...)
	return cmd
}

// unknown returns the error for a word that is no command.
func unknown(root *cobra.Command, word string) error {
	var names []string
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	if near := filter.Nearest(word, names); near != "" {
		return cli.Usagef("unknown command %q; did you mean '%s %s'?", word, root.Name(), near)
	}
	return cli.Usagef("unknown command %q", word)
}

// meant asks whether a word that nothing is called was to be a command below another.
func meant(word, command string, below ...string) string {
	if near := filter.Nearest(word, below); near != "" {
		return "; did you mean 'millhand " + command + " " + near + "'?"
	}
	return ""
}

// flagOfTerm gives a term of a filter that is negated to --filter, as which nothing takes its - for a
// flag's.
func flagOfTerm(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if key, _, ok := strings.Cut(arg, ":"); ok && isNegatedKey(key) {
			args[i] = "--filter=" + arg
		}
	}
	return args
}

func isNegatedKey(word string) bool {
	key, ok := strings.CutPrefix(word, "-")
	key, _, _ = strings.Cut(key, ".")
	return ok && slices.Contains(filter.Keys(), filter.Key(key))
}
