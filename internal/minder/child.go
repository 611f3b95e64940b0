//go:build unix

package minder

import (
	"encoding/gob"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// start runs a command, whose exit is sent on ended.
func (cs *commands) start(l *launch, files []int) (group int, ended <-chan syscall.WaitStatus, err error) {
	exit := make(chan syscall.WaitStatus, 1)
	fds := make([]uintptr, len(files))
	for i, fd := range files {
		fds[i] = uintptr(fd)
	}
	// Locked until the leader is known, so that it is not reaped as a stranger.
	cs.mu.Lock()
	defer cs.mu.Unlock()
	group, err = syscall.ForkExec(l.Path, l.Argv, &syscall.ProcAttr{Dir: l.Dir, Env: l.Env, Files: fds, Sys: commandAttr()})
	if err == nil {
		cs.leaders[group] = exit
	}
	return group, exit, err
}

// mind sees a command from its start until its group is gone. Reports are small enough
// for the socket to take them from a worker that is frozen; one that is gone has no
// use for them.
func (cs *commands) mind(conn *net.UnixConn, files []int) {
	defer func() { _ = conn.Close() }() // nothing is buffered
	enc, dec := gob.NewEncoder(conn), gob.NewDecoder(conn)
	var l launch
	err := dec.Decode(&l)
	c := child{why: exited, deadline: l.Lease.end(time.Now())}
	var refused *report
	switch {
	case err != nil: // the worker is gone
	case left(c.deadline, time.Now()) <= 0:
		refused = &report{Kind: expired, ExitCode: -1}
	case len(files) < pipes:
		refused = &report{Kind: notStarted, Error: "its minder", Errno: syscall.EMFILE}
	default:
		if c.group, c.ended, err = cs.start(&l, files); err != nil {
			refused = &report{Kind: notStarted, Error: l.Path, Errno: errnoOf(err)}
		}
	}
	closeFiles(files)
	if refused != nil {
		_ = enc.Encode(*refused)
	}
	if refused != nil || err != nil {
		return
	}
	_ = enc.Encode(report{Kind: started, Group: c.group})

	orders, done := make(chan order), make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { receive(dec, orders, done) })
	_ = enc.Encode(c.watch(orders, cs.over, enc))
	close(done)
	_ = conn.Close() // ends receive
}

// errnoOf is the error number within err: all that ends a start has one.
func errnoOf(err error) syscall.Errno {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return syscall.EINVAL // as of a NUL in an argument
}

// receive passes orders on until the worker hangs up.
func receive(dec *gob.Decoder, orders chan<- order, done <-chan struct{}) {
	defer close(orders)
	for {
		var o order
		if dec.Decode(&o) != nil {
			return
		}
		select {
		case orders <- o:
		case <-done:
			return
		}
	}
}

// A child is one command as the minder sees it.
type child struct {
	group    int
	ended    <-chan syscall.WaitStatus
	deadline time.Time // end of the lease
	killAt   time.Time // end of the grace; zero: it was not told to stop
	why      kind      // it was signalled for, or exited
}

// lookEvery is how often the wall clock is looked at: timers go by the monotonic one.
const lookEvery = 250 * time.Millisecond

// watch keeps a command to its deadline until it has exited and its group is gone, and
// returns the report of that. It goes on answering all the while: to a worker a
// silent minder is a dead one.
func (c *child) watch(orders <-chan order, over <-chan struct{}, enc *gob.Encoder) report {
	var last *report
	p := pause{}
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case status := <-c.ended:
			last = c.report(status)
		case o, ok := <-orders:
			now := time.Now()
			c.enforce(now) // an order cannot save what is overdue
			if !ok {
				orders = nil
				if errors.Is(c.signal(closed, sigKill), syscall.EPERM) { // another user's: nobody is left who could kill it
					return report{Kind: closed, ExitCode: -1}
				}
				break
			}
			c.obey(o, now)
			_ = enc.Encode(report{Kind: alive})
		case <-over:
			over = nil
			if errors.Is(c.signal(closed, sigKill), syscall.EPERM) { // another user's: nobody is left who could kill it
				return report{Kind: closed, ExitCode: -1}
			}
		case <-look.C:
		}
		if last == nil {
			now := time.Now()
			c.enforce(now)
			look.Reset(c.next(now))
			continue
		}
		if gone(c.group, p.long()) {
			return *last
		}
		look.Reset(p.next())
	}
}

// next is when to look again.
func (c *child) next(now time.Time) time.Duration {
	d := left(c.deadline, now)
	if !c.killAt.IsZero() {
		d = min(d, left(c.killAt, now))
	}
	if d <= 0 { // killed, and not yet reaped
		return lookEvery
	}
	return min(d, lookEvery)
}

func (c *child) obey(o order, now time.Time) {
	c.deadline = o.Lease.end(now)
	switch {
	case !o.Stop:
	case c.killAt.IsZero():
		c.killAt = now.Add(o.Grace)
		_ = c.signal(stopped, syscall.SIGTERM) // whatever comes of it, the grace runs
	case o.Grace == 0:
		c.killAt = now
	}
}

// enforce kills a command whose time is up, and those that joined its group since it
// was killed.
func (c *child) enforce(now time.Time) {
	switch {
	case left(c.deadline, now) <= 0:
		_ = c.signal(expired, sigKill) // and again, until it is gone
	case !c.killAt.IsZero() && left(c.killAt, now) <= 0:
		_ = c.signal(stopped, sigKill) // and again, until it is gone
	}
}

// signal signals the command's group. What for counts the first time, and if there is a
// group.
func (c *child) signal(why kind, sig syscall.Signal) error {
	err := signalGroup(c.group, sig)
	if err == nil && c.why == exited {
		c.why = why
	}
	return err
}

func (c *child) report(status syscall.WaitStatus) *report {
	r := &report{Kind: c.why, ExitCode: status.ExitStatus()}
	if status.Signaled() {
		r.Signal = status.Signal()
	}
	return r
}
