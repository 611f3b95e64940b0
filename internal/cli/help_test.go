package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestHelpIsGrouped(t *testing.T) {
	cmd := &cobra.Command{Use: "mill [flags]", Long: "Grind.", Example: "  mill", Run: func(*cobra.Command, []string) {}}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.String("grain", "", "the `KIND` of grain")
	fs.String("wait", "", "wait for the flour, at most `[DURATION]`, and then for everything else that there may be")
	fs.Lookup("wait").NoOptDefVal = "forever"
	fs.Bool("water", false, "let in water")
	got := help(cmd, []FlagGroup{{"What", "grain"}, {"How", "water"}}, 60)
	want := `Grind.

Usage:
  mill [flags]

Examples:
  mill

What:
      --grain KIND        the KIND of grain
      --wait [DURATION]   wait for the flour, at most
                          [DURATION], and then for
                          everything else that there may be

How:
      --water   let in water
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
