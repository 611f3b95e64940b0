//go:build unix

package minder

import (
	"context"
	"encoding/gob"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// A run is one command as the worker sees it.
type run struct {
	Command
	process               *process
	conn                  *net.UnixConn
	stdin, stdout, stderr *os.File
	control               *os.File
	orders                chan order
	reports               chan report   // closed when the minder hangs up
	released              chan struct{} // closed when no one reads reports any more

	group   int  // process group, once it is known
	overdue bool // killed at its deadline from here
	result  limited
	tail    tail
}

// The lease is sent four times in what is left of it, within these bounds.
const (
	shortestBeat = 20 * time.Millisecond
	longestBeat  = 250 * time.Millisecond
)

func (r *run) until() time.Time {
	if r.Until == nil {
		return time.Time{}
	}
	return r.Until()
}

// grace is asked for once the context has ended.
func (r *run) grace() time.Duration {
	if r.Stopped == nil {
		return r.Grace
	}
	return r.Stopped()
}

func (r *run) lease() lease { return newLease(r.until(), time.Now()) }

// write sends the launch and then orders until there are no more. If the minder does not
// take them, its hanging up or its silence says so.
func (r *run) write(first launch) {
	enc := gob.NewEncoder(r.conn)
	if enc.Encode(first) != nil {
		return
	}
	for o := range r.orders {
		if enc.Encode(o) != nil {
			return
		}
	}
}

func (r *run) read() {
	defer close(r.reports)
	dec := gob.NewDecoder(r.conn)
	for {
		var rep report
		if dec.Decode(&rep) != nil {
			return
		}
		select {
		case r.reports <- rep:
		case <-r.released:
			return
		}
	}
}

func (r *run) feed() {
	_, _ = r.stdin.Write(r.Stdin) // a command need not read it
	_ = r.stdin.Close()
}

// follow keeps the lease moving until the command has ended, and returns the report
// of that, or ErrMinderDied. Every order repeats what was said before.
func (r *run) follow(ctx context.Context) (report, error) {
	var (
		done, full = ctx.Done(), (<-chan struct{})(r.result.full)
		next       order
		watch      = silence{heard: time.Now()}
		beat       = time.NewTimer(longestBeat)
	)
	defer beat.Stop()
	for {
		select {
		case rep, ok := <-r.reports:
			switch {
			case !ok && r.group == 0 && r.process.livesOn():
				return report{}, fmt.Errorf("%w: its minder cannot take it: %w", ErrNotStarted, syscall.EMFILE)
			case !ok:
				return report{}, ErrMinderDied
			case rep.Kind == started:
				r.group = rep.Group
			case rep.Kind != alive:
				return rep, nil
			}
			watch = silence{heard: time.Now()}
			continue
		case <-done:
			done = nil
			if !next.Stop {
				next.Stop, next.Grace = true, r.grace()
			}
		case <-full:
			full = nil
			next.Stop, next.Grace = true, 0
		case <-beat.C:
		}
		if watch.tooLong(time.Now()) {
			_ = r.process.cmd.Process.Kill() // so it hangs up
		}
		next.Lease = r.lease()
		if next.Lease.Left <= 0 && r.group != 0 && watch.frozen() && signalGroup(r.group, sigKill) == nil {
			r.overdue = true
		}
		select {
		case r.orders <- next:
		default:
		}
		beat.Reset(min(max(next.Lease.Left/4, shortestBeat), longestBeat))
	}
}

// A silence is how long the minder has not answered, without the time that this process
// was frozen itself.
type silence struct {
	heard time.Time // or last looked
	total time.Duration
}

// frozen reports whether the minder seems to be: one that is not kills a command at its
// deadline itself, and may have reaped it, so that the group's number is another's by now.
// That it did so waits to be read when this process comes back from being frozen itself.
func (s *silence) frozen() bool { return s.total >= 3*longestBeat }

func (s *silence) tooLong(now time.Time) bool {
	s.total += min(now.Sub(s.heard), 2*longestBeat)
	s.heard = now
	return s.total >= answerWithin
}

// abandon kills what a dead minder left. What cannot be killed is waited for, until ctx ends:
// the job must not run elsewhere at the same time for as long as that can be helped.
func (r *run) abandon(ctx context.Context, m *Minder) {
	if r.group != 0 {
		_ = signalGroup(r.group, sigKill) // at once, awaited below
	}
	m.retire(r.process)
	if r.group != 0 {
		awaitGone(ctx, r.group)
	}
}

// release ends the goroutines of a run whose group is gone.
func (r *run) release() {
	close(r.released)
	close(r.orders)
	_ = r.conn.Close()
	_ = r.stdin.Close()
	now := time.Now()
	_ = r.stdout.SetReadDeadline(now) // collect takes what is there
	_ = r.stderr.SetReadDeadline(now)
	_ = r.control.SetReadDeadline(now)
}

// close gives up a run that was not begun.
func (r *run) close() {
	if r.conn != nil {
		_ = r.conn.Close()
	}
	closeAll([]*os.File{r.stdin, r.stdout, r.stderr, r.control})
}

// outcome is what Run returns for the last report.
func (r *run) outcome(ctx context.Context, last report) (Result, error) {
	closeAll([]*os.File{r.stdout, r.stderr, r.control})
	res := Result{Stdout: r.result.buf.Bytes(), Stderr: r.tail.bytes(), ExitCode: last.ExitCode, Signal: last.Signal}
	switch {
	case last.Kind == notStarted:
		return Result{ExitCode: -1}, fmt.Errorf("%w: %s: %w", ErrNotStarted, last.Error, last.Errno)
	case r.result.over:
		return res, ErrOutputTooLarge
	case last.Kind == expired, last.Kind == exited && r.overdue:
		return res, ErrLeaseEnded
	case last.Kind == closed:
		return res, ErrClosed
	case last.Kind == stopped:
		return res, context.Cause(ctx)
	}
	return res, nil
}
