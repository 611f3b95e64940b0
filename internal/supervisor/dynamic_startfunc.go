package supervisor

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strconv"
)

// maxIdleHands bounds the goroutines that a Dynamic keeps for the next StartFunc.
const maxIdleHands = 512

// A hand is a goroutine that runs one function after the other. A new goroutine starts with a small stack, and moves it
// each time that proves too small, which costs more than all else about a short job.
type hand struct {
	name  string             // its label, in place of the child's, which would cost as much again
	label context.Context    //nolint:containedctx // a bag of labels: runtime/pprof takes them so
	work  chan *dynamicChild // capacity 1; closed to dismiss it
}

// StartFunc runs f as a temporary child that has no context: whoever starts it sees to it that it ends, and a stop of d
// does not wait for it, as for one with NoWait. It returns without waiting. A panic of f is the end of the child,
// with no other consequence. This is for short work in large numbers: f runs on a goroutine that has run others.
// Errors: [ErrNotRunning], [ErrMaxChildren], [ErrSpec].
func (d *Dynamic) StartFunc(name string, f func()) error {
	c := &dynamicChild{Child: Child{Name: name, Restart: Temporary, NoWait: true}, f: f}
	if name == "" || f == nil {
		return fmt.Errorf("%w: child %q: want a name and a function", ErrSpec, name)
	}
	h, err := d.admitFunc(c)
	if err != nil {
		return err
	}
	d.emit(Event{Kind: ChildStarted, Child: name})
	if h.work == nil {
		h.work = make(chan *dynamicChild, 1)
		go d.runHand(h)
	}
	h.work <- c
	return nil
}

// admitFunc makes c a child with a hand: an idle one, or a new one whose goroutine is not started yet.
func (d *Dynamic) admitFunc(c *dynamicChild) (*hand, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.admit(c); err != nil {
		return nil, err
	}
	c.cancel = func(error) {}
	if last := len(d.idle) - 1; last >= 0 {
		c.hand = d.idle[last]
		d.idle = d.idle[:last]
		return c.hand, nil
	}
	d.hands++
	name := "hand " + strconv.FormatUint(d.hands, 10)
	labels := pprof.Labels("supervisor", d.spec.Name, "child", name)
	c.hand = &hand{name: name, label: pprof.WithLabels(context.Background(), labels)}
	return c.hand, nil
}

// runHand is the goroutine of h.
func (d *Dynamic) runHand(h *hand) {
	for c := range h.work {
		pprof.SetGoroutineLabels(h.label) // the one before may have changed them
		d.runFunc(c)
		if !d.park(h) {
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

// park reports whether h is to wait for more work.
func (d *Dynamic) park(h *hand) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.derive == nil || len(d.idle) >= maxIdleHands {
		return false
	}
	d.idle = append(d.idle, h)
	return true
}

// dismiss ends the idle hands. It must be called with mu held.
func (d *Dynamic) dismiss() {
	for _, h := range d.idle {
		close(h.work)
	}
	d.idle = nil
}
