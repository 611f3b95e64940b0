//go:build unix

package minder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// A Minder runs commands. It may be used by several goroutines.
type Minder struct {
	log  *slog.Logger
	seat chan seat // holds one: its taker has the process to itself
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
	if c.Control == nil {
		c.Control = io.Discard
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
	wg.Go(func() { collect(r.control, r.Control) })
	end, err := r.follow(ctx)
	if errors.Is(err, ErrMinderDied) {
		r.abandon(ctx, m)
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

// retire ends a process that has died, or that does not answer. First it has to be out of
// the way of all others, who need not wait for the end of its commands.
func (m *Minder) retire(p *process) {
	s := <-m.seat
	if s.process == p {
		s.process = nil
	}
	m.seat <- s
	p.bury.Do(func() {
		left, err := p.kill()
		m.log.Warn("minder died, its commands are killed", slog.Int("pid", p.pid()), slog.Any("err", err))
		m.report(left)
	})
}

// report tells of processes that this one could not kill.
func (m *Minder) report(pids []int) {
	if len(pids) > 0 {
		m.log.Error("processes of commands are still running: they belong to another user or cannot be killed; kill them by hand", slog.Any("pids", pids))
	}
}

// Close kills what still runs and ends the minder's process. It returns when both
// are gone; later runs return [ErrClosed].
func (m *Minder) Close() {
	s := <-m.seat
	p := s.process
	m.seat <- seat{closed: true}
	if p != nil {
		p.bury.Do(func() { m.report(p.finish()) })
	}
}
