//go:build !unix

package minder

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
)

// A Minder cannot run commands here: it takes process groups and passing descriptors
// to another process, which only Unix has.
type Minder struct{}

// Main returns false: no process is a minder's here.
func Main() bool { return false }

// New returns a minder that refuses every command.
func New(*slog.Logger) *Minder { return &Minder{} }

// Lookup returns an error that is [ErrNotStarted].
func Lookup(program string) (string, error) {
	return "", fmt.Errorf("%w: %s: commands cannot be run on %s; use an http type, or run this worker on Linux, macOS or BSD",
		ErrNotStarted, program, runtime.GOOS)
}

// Run returns an error that is [ErrNotStarted].
func (*Minder) Run(_ context.Context, c Command) (Result, error) {
	program := "command"
	if len(c.Argv) > 0 {
		program = c.Argv[0]
	}
	_, err := Lookup(program)
	return Result{}, err
}

// Close does nothing.
func (*Minder) Close() {}
