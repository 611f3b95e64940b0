// Package cli is what the commands share: connection flags, exit codes and errors, logging, and what
// a terminal is. It knows no jobs.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes of all commands. Scripts depend on them.
const (
	ExitOK           = 0
	ExitRuntime      = 1   // any error not named below
	ExitUsage        = 2   // wrong flags or arguments, invalid input
	ExitNotFound     = 3   // no such job
	ExitRefused      = 4   // the id is alive already, or the quota is reached
	ExitTimeout      = 5   // --wait ran out
	ExitJobFailed    = 6   // --wait: the job finished dead or cancelled
	ExitPartial      = 7   // a part of a bulk was refused
	ExitViolation    = 8   // a check or a verification found a violation
	ExitDrainTimeout = 75  // worker: the drain ran out, jobs were handed back
	ExitInterrupted  = 130 // ended by a signal: 128 + SIGINT, as shells have it
)

// ExitError is an error that ends the command with a certain code.
type ExitError struct {
	Code int
	Err  error // nil: nothing to say that was not said already
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// Usagef returns an error about the caller's input; it exits with [ExitUsage].
func Usagef(format string, args ...any) error {
	return &ExitError{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}

// Execute runs root with args and returns the exit code. An error becomes one line on
// stderr, never a usage dump. The code is that of the [ExitError] in its chain; without
// one it is [ExitInterrupted] when ctx was cancelled, [ExitUsage] when cobra rejected the
// flags or arguments, and [ExitRuntime] otherwise.
//
// Commands implement RunE and none of cobra's other hooks.
func Execute(ctx context.Context, root *cobra.Command, args []string, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetArgs(args)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(flagError)

	// cobra reports a bad flag, a bad argument and a missing flag by four different ways
	// and as plain errors. They have in common that no RunE was reached.
	ran := false
	markRuns(root, &ran)

	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	exit, ok := errors.AsType[*ExitError](err)
	if !ok {
		exit = &ExitError{Code: ExitRuntime, Err: err}
		switch {
		case !ran:
			exit.Code = ExitUsage
		case ctx.Err() != nil && errors.Is(err, context.Canceled):
			exit = &ExitError{Code: ExitInterrupted, Err: errors.New("interrupted")}
		}
	} else if exit.Err != nil {
		exit = &ExitError{Code: exit.Code, Err: err} // with what it was wrapped in
	}
	report(stderr, cmd, exit, args)
	return exit.Code
}

func markRuns(cmd *cobra.Command, ran *bool) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*ran = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		markRuns(sub, ran)
	}
}

func report(stderr io.Writer, cmd *cobra.Command, exit *ExitError, args []string) {
	if exit.Err == nil {
		return
	}
	hint := ""
	if exit.Code == ExitUsage {
		hint = fmt.Sprintf(" (see '%s --help')", cmd.CommandPath())
	}
	// If stderr is gone the code still tells.
	_, _ = fmt.Fprintf(stderr, "%s: %s%s\n", cmd.Root().Name(), withoutPasswords(Text(exit.Err), args), hint)
}

// libraryPrefix tells programs whose error it is. A command says that in its own way.
const libraryPrefix = "millhand: "

// Text returns what an error says to people, on one line: the texts of joined errors, and cobra's
// suggestions, are folded into it. No error of its chain begins with the library's name.
func Text(err error) string {
	var parts []string
	for line := range strings.Lines(withoutPrefix(err.Error(), err)) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, "; ")
}

// withoutPrefix is the text of an error, or of one that wraps it, without the library's name before
// what it and those in it say. Names in what others wrote, such as a job's own error, stay.
func withoutPrefix(text string, err error) string {
	if bare, ok := strings.CutPrefix(err.Error(), libraryPrefix); ok {
		text = strings.Replace(text, err.Error(), bare, 1)
	}
	switch wrapping := err.(type) { //nolint:errorlint // each of the chain is looked at
	case interface{ Unwrap() error }:
		if inner := wrapping.Unwrap(); inner != nil {
			return withoutPrefix(text, inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range wrapping.Unwrap() {
			text = withoutPrefix(text, inner)
		}
	}
	return text
}
