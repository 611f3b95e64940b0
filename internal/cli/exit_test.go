package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/spf13/cobra"
)

func TestExecute(t *testing.T) {
	notFound := &ExitError{Code: ExitNotFound, Err: errors.New("no job x")}
	tests := map[string]struct {
		args   []string
		run    error
		code   int
		stderr string
	}{
		"fine":             {code: ExitOK},
		"runtime error":    {run: errors.New("disk full"), code: ExitRuntime, stderr: "mill: disk full\n"},
		"joined errors":    {run: errors.Join(errors.New("a"), errors.New("b")), code: ExitRuntime, stderr: "mill: a; b\n"},
		"own code":         {run: notFound, code: ExitNotFound, stderr: "mill: no job x\n"},
		"wrapped code":     {run: fmt.Errorf("get: %w", notFound), code: ExitNotFound, stderr: "mill: get: no job x\n"},
		"already reported": {run: &ExitError{Code: ExitPartial}, code: ExitPartial},
		"of the library":   {run: fmt.Errorf("line 2: %w", errors.New("millhand: store full")), code: ExitRuntime, stderr: "mill: line 2: store full\n"},
		"library in library": {
			run:  fmt.Errorf("millhand: send: %w: %w", errors.New("millhand: store full"), errors.New("job said millhand: no")),
			code: ExitRuntime, stderr: "mill: send: store full: job said millhand: no\n",
		},
		"library, joined": {run: errors.Join(errors.New("millhand: a"), &ExitError{Code: ExitNotFound, Err: errors.New("millhand: b")}), code: ExitNotFound, stderr: "mill: a; b\n"},
		"usage":           {run: Usagef("--id: bad"), code: ExitUsage, stderr: "mill: --id: bad (see 'mill --help')\n"},
		"unknown flag":    {args: []string{"--nope"}, code: ExitUsage, stderr: "mill: unknown flag: --nope (see 'mill --help')\n"},
		"bad flag value": {
			args: []string{"-n", "x"}, code: ExitUsage,
			stderr: "mill: invalid argument \"x\" for \"-n, --number\" flag: want a whole number (see 'mill --help')\n",
		},
		"too many arguments": {args: []string{"a", "b"}, code: ExitUsage, stderr: "mill: accepts at most 1 arg(s), received 2 (see 'mill --help')\n"},
		"flags that exclude each other": {
			args: []string{"-n", "1", "--all"}, code: ExitUsage,
			stderr: "mill: if any flags in the group [number all] are set none of the others can be; [all number] were all set (see 'mill --help')\n",
		},
		"password in a wrong place": {
			args: []string{"sub", "nats://u:hunter2@h:1"}, code: ExitUsage,
			stderr: "mill: unknown command \"nats://xxxxx@h:1\" for \"mill sub\" (see 'mill sub --help')\n",
		},
		"password in a wrong flag": {
			args: []string{"--number=u:hunter2@h:1"}, code: ExitUsage,
			stderr: "mill: invalid argument \"xxxxx@h:1\" for \"-n, --number\" flag: want a whole number (see 'mill --help')\n",
		},
		"password within an argument": {
			args: []string{"--number", "get https://u:hunter\"2@h/ there"}, code: ExitUsage,
			stderr: "mill: invalid argument \"xxxxx@xxxxx\" for \"-n, --number\" flag: want a whole number (see 'mill --help')\n",
		},
		"an address": {
			args: []string{"--number=me@example.com"}, code: ExitUsage,
			stderr: "mill: invalid argument \"me@example.com\" for \"-n, --number\" flag: want a whole number (see 'mill --help')\n",
		},
		"subcommand": {args: []string{"sub", "--nope"}, code: ExitUsage, stderr: "mill: unknown flag: --nope (see 'mill sub --help')\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			code := Execute(t.Context(), mill(tt.run), append([]string{}, tt.args...), &stderr)
			if code != tt.code || stderr.String() != tt.stderr {
				t.Errorf("Execute(%q) = %d, stderr %q, want %d, %q", tt.args, code, stderr.String(), tt.code, tt.stderr)
			}
		})
	}
}

func TestExecuteInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	code := Execute(ctx, mill(fmt.Errorf("publish: %w", context.Canceled)), []string{}, &stderr)
	if code != ExitInterrupted || stderr.String() != "mill: interrupted\n" {
		t.Errorf("Execute = %d, stderr %q, want %d, interrupted", code, stderr.String(), ExitInterrupted)
	}
	// A Canceled that is not ours is an error like any other.
	if code := Execute(t.Context(), mill(context.Canceled), []string{}, &stderr); code != ExitRuntime {
		t.Errorf("Execute = %d, want %d", code, ExitRuntime)
	}
}

// mill is a command whose run ends with err.
func mill(err error) *cobra.Command {
	run := func(*cobra.Command, []string) error { return err }
	cmd := &cobra.Command{Use: "mill", Args: cobra.MaximumNArgs(1), RunE: run}
	cmd.Flags().IntP("number", "n", 0, "")
	cmd.Flags().Bool("all", false, "")
	cmd.MarkFlagsMutuallyExclusive("number", "all")
	cmd.AddCommand(&cobra.Command{Use: "sub", Args: cobra.NoArgs, RunE: run})
	return cmd
}
