package minder

import (
	"errors"
	"io"
	"syscall"
	"time"
)

// Errors to compare with [errors.Is].
var (
	// ErrNotStarted says that a command was not found or is no program.
	ErrNotStarted = errors.New("command cannot be started")
	// ErrOutputTooLarge says that a command was killed for writing more than [MaxOutput].
	ErrOutputTooLarge = errors.New("command wrote more than 1 MiB to its standard output")
	// ErrLeaseEnded says that a command was killed because its deadline had passed.
	ErrLeaseEnded = errors.New("command killed at the end of the job's lease")
	// ErrMinderDied says that a command was killed because its minder had died.
	ErrMinderDied = errors.New("command killed because its minder process died")
	// ErrClosed says that the minder was closed before the command had ended.
	ErrClosed = errors.New("minder is closed")
)

// Limits of a run.
const (
	MaxOutput    = 1 << 20         // bytes of standard output
	StderrTail   = 8 << 10         // bytes kept of standard error
	DefaultGrace = 5 * time.Second // from SIGTERM to SIGKILL
)

// ControlDescriptor is the pipe on which a command talks to whoever runs it, beside its output.
const ControlDescriptor = 3

// A Command is a program to run.
type Command struct {
	Argv  []string         // the program and its arguments; found as a shell would find it
	Env   []string         // nil: this process's
	Dir   string           // default: this process's
	Stdin []byte           // the command need not read it
	Until func() time.Time // until when it may run, asked again and again; nil or zero: until the worker ends
	Grace time.Duration    // from SIGTERM to SIGKILL once the context ended; 0: DefaultGrace

	// Stopped is asked for the grace when the context has ended, in place of Grace; 0 is none. Nil:
	// it is Grace.
	Stopped func() time.Duration

	// Control gets what the command writes to descriptor [ControlDescriptor] while it runs; nil: nobody
	// does. Nothing is written to it any more when Run returns. It must not block, nor fail.
	Control io.Writer
}

// A Result is how a command ended.
type Result struct {
	Stdout   []byte
	Stderr   []byte         // its last [StderrTail] bytes
	ExitCode int            // -1 if a signal ended it
	Signal   syscall.Signal // that ended it, or 0
}
