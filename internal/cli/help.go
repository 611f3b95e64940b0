package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Bounds of the width of help, columns: longer lines are hard to read.
const (
	minHelp = 60
	maxHelp = 100
)

// A FlagGroup begins a group of flags in the help: that one, and those that were registered after it.
type FlagGroup struct {
	Title string
	First string // the name of its first flag
}

// GroupFlags has the help of a command show its flags in groups, as wide as the terminal is. The first
// group begins with the first flag.
func GroupFlags(cmd *cobra.Command, groups ...FlagGroup) {
	standard := cmd.HelpFunc()
	cmd.SetHelpFunc(func(c *cobra.Command, args []string) {
		if c != cmd { // one below it
			standard(c, args)
			return
		}
		out := c.OutOrStdout()
		width := min(max(Width(out), minHelp), maxHelp)
		_, _ = fmt.Fprint(out, help(c, groups, width)) // to nobody, if it fails
	})
}

// help is the whole text.
func help(c *cobra.Command, groups []FlagGroup, width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n\nExamples:\n%s\n", c.Long, c.UseLine(), c.Example)
	if c.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-*s %s\n", sub.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	for n, set := range grouped(c.Flags(), groups) {
		fmt.Fprintf(&b, "\n%s:\n%s", groups[n].Title, set.FlagUsagesWrapped(width))
	}
	return b.String()
}

// grouped returns the flags of each group.
func grouped(flags *pflag.FlagSet, groups []FlagGroup) []*pflag.FlagSet {
	sets := make([]*pflag.FlagSet, len(groups))
	for n := range sets {
		sets[n] = pflag.NewFlagSet(groups[n].Title, pflag.ContinueOnError)
		sets[n].SortFlags = false
	}
	n := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if n+1 < len(groups) && f.Name == groups[n+1].First {
			n++
		}
		shown := *f
		shown.NoOptDefVal = "" // a [NAME] in brackets says that the flag may stand alone
		sets[n].AddFlag(&shown)
	})
	return sets
}
