//go:build unix

package minder

import (
	"syscall"
	"time"
)

// A launch is the first message on a command's socket, worker to minder.
type launch struct {
	Path  string
	Argv  []string
	Env   []string
	Dir   string
	Lease lease
}

// An order is each later one. What it says stands until an order says otherwise, so one
// that is dropped does no harm.
type order struct {
	Lease lease
	Stop  bool
	Grace time.Duration // with Stop: from SIGTERM to SIGKILL
}

// A report is what the minder says: once that the command started or did not, once how
// it ended, and an answer to each order between.
type report struct {
	Kind     kind
	Group    int           // of started
	Error    string        // of notStarted: what could not be
	Errno    syscall.Errno // of notStarted
	ExitCode int
	Signal   syscall.Signal
}

type kind int

const (
	alive   kind = iota // the answer to an order
	started             // the kinds below are the last report
	notStarted
	exited  // by itself
	stopped // by an order
	expired // at its deadline
	closed  // because the minder ends
)

// A lease is how long a command may run on.
type lease struct {
	Left time.Duration
	Sent time.Time // by the wall clock, which both processes share
}

// unlimited is the lease of a command without a deadline.
const unlimited = 100 * 365 * 24 * time.Hour

func newLease(until, now time.Time) lease {
	l := lease{Left: unlimited, Sent: now}
	if !until.IsZero() {
		l.Left = left(until, now)
	}
	return l
}

// end is when the lease ends, for one who got it now. The time since it was sent is
// taken off: it may have waited for a process that was frozen.
func (l lease) end(now time.Time) time.Time {
	return now.Add(l.Left - max(0, now.Round(0).Sub(l.Sent.Round(0))))
}

// left is what is left until a deadline, by the clock that is further on: the monotonic
// one stands still while a machine is suspended, and the wall clock may be set back.
func left(until, now time.Time) time.Duration {
	return min(until.Sub(now), until.Round(0).Sub(now.Round(0)))
}
