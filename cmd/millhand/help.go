package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millhand/millhand/internal/cli"
)

// Bounds of the width of help, columns: longer lines are hard to read.
const (
	minHelp = 60
	maxHelp = 100
)

type group struct{ id, title string }

func groups() []group {
	return []group{{looking, "See"}, {acting, "Change jobs"}, {limiting, "Pause and limit"}, {others, "Other"}}
}

// showHelp writes the help of a command: what it does, how it is called, its own flags, and of those of
// all commands the ones that are about its output.
func showHelp(c *cobra.Command, _ []string) {
	out := c.OutOrStdout()
	width := min(max(cli.Width(out), minHelp), maxHelp)
	_, _ = fmt.Fprint(out, help(c, width)) // to nobody, if it fails
}

func help(c *cobra.Command, width int) string {
	var b strings.Builder
	about := c.Long
	if about == "" {
		about = c.Short + "."
	}
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n\nExamples:\n%s\n", about, c.UseLine(), c.Example)
	if c.HasParent() {
		writeCommands(&b, "Commands", c.Commands())
		writeFlags(&b, "Flags", ownFlags(c), width)
	} else {
		for _, g := range groups() {
			writeCommands(&b, g.title, inGroup(c.Commands(), g.id))
		}
	}
	all := c.Root().PersistentFlags()
	writeFlags(&b, "What is printed", shown(all, isOutputFlag), width)
	if c.HasParent() {
		b.WriteString("\nWhich broker: --server, --context and others, as 'millhand --help' has them.\n")
		return b.String()
	}
	writeFlags(&b, "The broker", shown(all, func(name string) bool { return !isOutputFlag(name) }), width)
	writeFlags(&b, "Other", ownFlags(c), width)
	b.WriteString("\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 timeout, 6 the job failed,\n" +
		"7 done in part, 8 a check found something, 130 interrupted. 'millhand COMMAND --help' has more.\n")
	return b.String()
}

// ownFlags are those of the command alone, in the order in which they were made.
func ownFlags(c *cobra.Command) *pflag.FlagSet {
	own := c.LocalNonPersistentFlags() // sorted
	return shown(c.Flags(), func(name string) bool { return own.Lookup(name) != nil })
}

func inGroup(all []*cobra.Command, id string) []*cobra.Command {
	var in []*cobra.Command
	for _, c := range all {
		if c.GroupID == id {
			in = append(in, c)
		}
	}
	return in
}

func writeCommands(b *strings.Builder, title string, commands []*cobra.Command) {
	first := true
	for _, c := range commands {
		if !c.IsAvailableCommand() {
			continue
		}
		if first {
			fmt.Fprintf(b, "\n%s:\n", title)
			first = false
		}
		fmt.Fprintf(b, "  %-*s %s\n", c.NamePadding(), c.Name(), c.Short)
	}
}

// shown are the flags of a set that are wanted, in the order in which they were made.
func shown(flags *pflag.FlagSet, wanted func(name string) bool) *pflag.FlagSet {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.SortFlags = false
	flags.VisitAll(func(f *pflag.Flag) {
		if wanted(f.Name) {
			set.AddFlag(f)
		}
	})
	return set
}

func writeFlags(b *strings.Builder, title string, flags *pflag.FlagSet, width int) {
	if flags.HasAvailableFlags() {
		fmt.Fprintf(b, "\n%s:\n%s", title, flags.FlagUsagesWrapped(width))
	}
}
