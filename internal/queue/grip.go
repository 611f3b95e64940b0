package queue

import (
	"sync/atomic"
	"time"
)

// grip is the gate's view of a job in hand. The gate's lock guards it.
type grip struct {
	prev, next *Delivery
	stamp      uint64 // demand.clock when it was asked for
	phase      phase
	returned   atomic.Bool   // the handler; needs no lock
	revoked    time.Time     // since when it has no permit any more though it runs
	told       bool          // that it is to stop
	ignored    time.Duration // for how long it has not stopped since, though it could have
	reported   bool          // that it ran on for too long after that
}

// phase is how far a job in hand has come.
type phase uint8

const (
	waiting phase = iota
	running
	givenUp // its handler does not return
	stuck   // and its slot has been given back
	back    // its handler has returned after all
)

// grips is a list of jobs, so that to keep one costs no memory.
type grips struct{ first *Delivery }

func (l *grips) add(h *Delivery) {
	h.grip.next = l.first
	if l.first != nil {
		l.first.grip.prev = h
	}
	l.first = h
}

func (l *grips) remove(h *Delivery) {
	switch prev := h.grip.prev; {
	case prev != nil:
		prev.grip.next = h.grip.next
	case l.first == h:
		l.first = h.grip.next
	default:
		return // it never was delivered
	}
	if next := h.grip.next; next != nil {
		next.grip.prev = h.grip.prev
	}
	h.grip.prev, h.grip.next = nil, nil
}
