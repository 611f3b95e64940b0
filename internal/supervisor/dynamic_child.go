package supervisor

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// dynamicChild is a child of a Dynamic, across all its restarts. What changes belongs to
// Dynamic.mu.
type dynamicChild struct {
	Child
	ready   chan<- error    // capacity 1: receives how the start went; nil if nobody waits for that
	onLeave func(err error) // called after it has left, with how it ended last; nil if nobody wants to know

	f         func()         // of StartFunc, in place of the ways of Child
	goroutine *poolGoroutine // which runs f

	status
	seq         uint64 // start order
	cancel      context.CancelCauseFunc
	answered    bool          // ready has received
	consecutive int           // restarts without a run longer than Within between them
	gone        chan struct{} // made by the first to wait for the end of this child
	fate        fate          // released or abandoned: it is no longer a child, but its goroutine still runs
}

// run is one life of a child: the whole of its goroutine.
func (d *Dynamic) run(ctx context.Context, c *dynamicChild) {
	err := ErrExited
	ready, started := d.readiness(c)
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
		if errors.Is(err, ErrIgnore) && !started() {
			d.onIgnored(c)
			return
		}
		d.onEnd(ctx, c, err)
	}()
	err = c.Child.run(label(ctx, d.spec.Name, c.Name), ready)
}

// readiness returns what a run of c calls when it is ready, and what tells whether it was.
func (d *Dynamic) readiness(c *dynamicChild) (ready func(), started func() bool) {
	if c.Run != nil {
		if c.ready != nil {
			d.onReady(c)
		}
		return nil, func() bool { return true }
	}
	var is atomic.Bool
	ready = func() {
		if is.CompareAndSwap(false, true) && c.ready != nil {
			d.onReady(c)
		}
	}
	return ready, is.Load
}

// onReady tells the caller of StartReady that c is ready.
func (d *Dynamic) onReady(c *dynamicChild) {
	if d.answers(c) {
		d.emit(Event{Kind: ChildStarted, Child: c.Name})
		c.ready <- nil
	}
}

// answers reports whether somebody waits for the start of c and has no answer yet: the caller now
// owes it.
func (d *Dynamic) answers(c *dynamicChild) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	owed := c.ready != nil && !c.answered
	c.answered = true
	return owed
}

// onFailedStart is the end of a child that somebody still waits for to become ready.
func (d *Dynamic) onFailedStart(c *dynamicChild, err error) {
	d.emit(Event{Kind: ChildFailed, Child: c.Name, Err: err, Stack: stackOf(err)})
	d.leave(c, err)
	c.ready <- err
}

// onIgnored is the end of a child that does not want to be started, now or again: it leaves, and
// costs no restart (DynamicSupervisor, restart_child).
func (d *Dynamic) onIgnored(c *dynamicChild) {
	awaited := d.answers(c)
	d.emit(Event{Kind: ChildIgnored, Child: c.Name, Restarts: c.restarts})
	d.leave(c, ErrIgnore)
	if awaited {
		c.ready <- nil
	}
}

// onEnd decides what follows the end of a child: nothing, a restart, or the end of the supervisor.
func (d *Dynamic) onEnd(ctx context.Context, c *dynamicChild, err error) {
	if d.answers(c) {
		d.onFailedStart(c, cmp.Or(err, errNotReady))
		return
	}
	stopped := ctx.Err() != nil
	again := !stopped && c.Restart.onEnd(clean(err)) == restart
	d.emitEnd(c, err, stopped, again)
	if !again {
		d.leave(c, err)
		return
	}
	delay, allowed := d.countRestart(c, err)
	if !allowed {
		d.giveUp(c, err)
		d.leave(c, err)
		return
	}
	d.emit(Event{
		Kind: ChildRestarting, Child: c.Name, Err: err, Restarts: c.restarts, Group: []string{c.Name}, Delay: delay,
		Stack: stackOf(err),
	})
	go d.rerun(ctx, c, delay)
}

// rerun is run after a delay.
func (d *Dynamic) rerun(ctx context.Context, c *dynamicChild, delay time.Duration) {
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			d.leave(c, context.Cause(ctx))
			return
		}
	}
	d.mu.Lock()
	c.state, c.since = StateRunning, time.Now().UTC()
	d.mu.Unlock()
	d.emit(Event{Kind: ChildStarted, Child: c.Name, Restarts: c.restarts})
	d.run(ctx, c)
}

// countRestart asks the intensity for a restart of c, which ended with err, and returns how long to
// wait before it.
func (d *Dynamic) countRestart(c *dynamicChild, err error) (delay time.Duration, allowed bool) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.intensity.restart(now) {
		return 0, false
	}
	if now.Sub(c.since) > d.spec.Within {
		c.consecutive = 0
	}
	c.consecutive++
	c.restarts++
	c.state, c.since = StateRestarting, now.UTC()
	if notable(err) {
		c.err = err
	}
	return d.spec.Backoff.delay(c.consecutive, rand.Float64()), true
}

// giveUp ends the run. Several children may get here at the same time; the first one is the reason.
func (d *Dynamic) giveUp(c *dynamicChild, reason error) {
	d.mu.Lock()
	over, gaveUp := d.over, d.gaveUp
	d.over = true
	d.mu.Unlock()
	if over {
		return
	}
	err := &IntensityError{
		Supervisor: d.spec.Name, Child: c.Name, MaxRestarts: *d.spec.MaxRestarts, Within: d.spec.Within, Err: reason,
	}
	d.emit(Event{Kind: GaveUp, Child: c.Name, Err: err, Restarts: c.restarts, Stack: stackOf(reason)})
	gaveUp <- err
}

// leave is the last act of a child's last goroutine.
func (d *Dynamic) leave(c *dynamicChild, err error) {
	c.cancel(nil)
	d.mu.Lock()
	if c.fate == alive {
		d.forget(c)
	} else {
		d.abandoned--
	}
	d.mu.Unlock()
	if c.onLeave != nil {
		c.onLeave(err)
	}
}

// forget must be called with mu held.
func (d *Dynamic) forget(c *dynamicChild) {
	delete(d.children, c)
	if c.gone != nil {
		close(c.gone)
	}
}

// emitEnd tells how c ended, or that it came back after it was abandoned.
func (d *Dynamic) emitEnd(c *dynamicChild, err error, stopped, again bool) {
	if d.spec.OnEvent == nil {
		return
	}
	e := Event{Kind: ChildEnded, Child: c.Name, Err: err, Restarts: c.restarts, Stack: stackOf(err), Redundant: again}
	d.mu.Lock()
	f := c.fate
	d.mu.Unlock()
	switch {
	case f == released:
		return
	case f == abandoned:
		e.Kind = ChildReturned
	case stopped:
		e.Kind = ChildStopped
		if stoppedCleanly(err) {
			e.Err = nil
		}
	}
	d.emit(e)
}
