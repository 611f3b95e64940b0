//go:build unix

package minder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
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

// A Command is a program to run.
type Command struct {
	Argv  []string         // the program and its arguments; found as a shell would find it
	Env   []string         // nil: this process's
	Dir   string           // default: this process's
	Stdin []byte           // the command need not read it
	Until func() time.Time // until when it may run, asked again and again; nil or zero: until the worker ends
	Grace time.Duration    // from SIGTERM to SIGKILL once the context ended; 0: DefaultGrace
}

// A Result is how a command ended.
type Result struct {
	Stdout   []byte
	Stderr   []byte         // its last [StderrTail] bytes
	ExitCode int            // -1 if a signal ended it
	Signal   syscall.Signal // that ended it, or 0
}

// A Minder runs commands. It may be used by several goroutines.
type Minder struct {
	log  *slog.Logger
	seat chan seat // holds one: whoever takes it has the process to itself
}

type seat struct {
	process *process // nil: none runs
	closed  bool
}

// New returns a minder. It starts its process with the first command.
func New(log *slog.Logger) *Minder {
	m := &Minder{log: log, seat: make(chan seat, 1)}
	m.seat <- seat{}
	return m
}

// Lookup returns the absolute path of a program, or an error that is [ErrNotStarted].
func Lookup(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	return filepath.Abs(path)
}

// Run runs a command to its end and returns when its whole process group is gone. A
// command that ended by itself is no error, whatever its exit code. Otherwise the error
// is one of this package's or, after ctx ended, ctx's cause; the result then tells
// what there is to tell.
func (m *Minder) Run(ctx context.Context, c Command) (Result, error) {
	if len(c.Argv) == 0 {
		return Result{}, fmt.Errorf("%w: it is empty", ErrNotStarted)
	}
	path, err := Lookup(c.Argv[0])
	if err != nil {
		return Result{}, err
	}
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	if c.Env == nil {
		c.Env = os.Environ()
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	r, err := m.open(c)
	if err != nil {
		return Result{}, err
	}
	first := launch{Path: path, Argv: c.Argv, Env: c.Env, Dir: c.Dir, Lease: r.lease()}

	var wg sync.WaitGroup
	wg.Go(func() { r.write(first) })
	wg.Go(r.read)
	wg.Go(r.feed)
	wg.Go(func() { collect(r.stdout, &r.result) })
	wg.Go(func() { collect(r.stderr, &r.tail) })
	end, err := r.follow(ctx)
	if err != nil {
		r.abandon(m)
	}
	r.release()
	wg.Wait()
	if err != nil {
		return Result{Stderr: r.tail.bytes(), ExitCode: -1}, err
	}
	return r.outcome(ctx, end)
}

// open begins a run at the minder's process, a new one if there is none or it has died.
func (m *Minder) open(c Command) (*run, error) {
	for {
		p, isNew, err := m.process()
		if err != nil {
			return nil, err
		}
		r, err := p.open(c)
		if !errors.Is(err, ErrMinderDied) {
			return r, err
		}
		m.retire(p)
		if isNew {
			return nil, err
		}
	}
}

func (m *Minder) process() (p *process, isNew bool, err error) {
	s := <-m.seat
	defer func() { m.seat <- s }()
	if s.closed {
		return nil, false, ErrClosed
	}
	if s.process == nil {
		s.process, err = startProcess()
		if err != nil {
			return nil, false, fmt.Errorf("start minder process: %w", err)
		}
		isNew = true
		m.log.Info("minder started", slog.Int("pid", s.process.pid()))
	}
	return s.process, isNew, nil
}

// retire ends a process that has died, or that does not answer.
func (m *Minder) retire(p *process) {
	p.bury.Do(func() {
		err := p.kill()
		m.log.Warn("minder died, its commands are killed", slog.Int("pid", p.pid()), slog.Any("err", err))
	})
	s := <-m.seat
	if s.process == p {
		s.process = nil
	}
	m.seat <- s
}

// Close kills what still runs and ends the minder's process. It returns when both
// are gone; later runs return [ErrClosed].
func (m *Minder) Close() {
	s := <-m.seat
	p := s.process
	m.seat <- seat{closed: true}
	if p != nil {
		p.bury.Do(p.finish)
	}
}
