package supervisor

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strconv"
)

// maxIdle bounds the goroutines that a Dynamic keeps for the next StartFunc.
const maxIdle = 512

// A poolGoroutine runs one function after the other. A new goroutine starts with a small stack, and
// moves it each time that proves too small, which costs more than all else about a short job.
type poolGoroutine struct {
	name  string             // its label, in place of the child's, which would cost as much again
	label context.Context    //nolint:containedctx // a bag of labels: runtime/pprof takes them so
	work  chan *dynamicChild // capacity 1; closed to end it
}

// StartFunc runs f as a temporary child that has no context: its caller sees to it that it ends,
// and a stop of d does not wait for it, as for one with NoWait. It returns without waiting. A panic
// of f is the end of the child, with no other consequence. This is for short work in large numbers:
// f runs on a goroutine that has run others. Errors: [ErrNotRunning], [ErrMaxChildren], [ErrSpec].
func (d *Dynamic) StartFunc(name string, f func()) error {
	c := &dynamicChild{Child: Child{Name: name, Restart: Temporary, NoWait: true}, f: f}
	if name == "" || f == nil {
		return fmt.Errorf("%w: child %q: want a name and a function", ErrSpec, name)
	}
	g, err := d.admitFunc(c)
	if err != nil {
		return err
	}
	d.emit(Event{Kind: ChildStarted, Child: name})
	if g.work == nil {
		g.work = make(chan *dynamicChild, 1)
		go d.runPooled(g)
	}
	g.work <- c
	return nil
}

// admitFunc makes c a child and finds it a goroutine: an idle one, or a new one that is not started
// yet.
func (d *Dynamic) admitFunc(c *dynamicChild) (*poolGoroutine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.admit(c); err != nil {
		return nil, err
	}
	c.cancel = func(error) {}
	if last := len(d.idle) - 1; last >= 0 {
		c.goroutine = d.idle[last]
		d.idle = d.idle[:last]
		return c.goroutine, nil
	}
	d.pooled++
	name := "pooled " + strconv.FormatUint(d.pooled, 10)
	labels := pprof.Labels("supervisor", d.spec.Name, "child", name)
	c.goroutine = &poolGoroutine{name: name, label: pprof.WithLabels(context.Background(), labels)}
	return c.goroutine, nil
}

// runPooled is the whole of a pool goroutine.
func (d *Dynamic) runPooled(g *poolGoroutine) {
	for c := range g.work {
		pprof.SetGoroutineLabels(g.label) // the function before may have changed them
		d.runFunc(c)
		if !d.park(g) {
			return
		}
	}
}

// runFunc is the life of a child of StartFunc.
func (d *Dynamic) runFunc(c *dynamicChild) {
	err := ErrExited
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
		d.emitEnd(c, err, false, false)
		d.leave(c, err)
	}()
	c.f()
	err = nil
}

// park reports whether g is to wait for more work.
func (d *Dynamic) park(g *poolGoroutine) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.derive == nil || len(d.idle) >= maxIdle {
		return false
	}
	d.idle = append(d.idle, g)
	return true
}

// endIdle ends the goroutines that wait for work. It must be called with mu held.
func (d *Dynamic) endIdle() {
	for _, g := range d.idle {
		close(g.work)
	}
	d.idle = nil
}
