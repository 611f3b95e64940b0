package slots

import (
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// A Ticket is a job in hand, as its slots see it. Whoever holds the job embeds one.
type Ticket struct {
	source  *Source
	job     *job.Record
	size    int // bytes
	revoker Revoker

	returned atomic.Bool // the handler has

	// Of the slots' lock.
	prev, next *Ticket
	stamp      uint64 // demand.epoch when the job was asked for
	phase      phase
	call       *call         // that it runs in with others; nil: it runs alone, or has not started
	revoked    time.Time     // since when it has no permit any more though it runs
	told       bool          // that it is to stop
	ignored    time.Duration // for how long it has not stopped since, though it could have
	reported   bool          // that it ran on for too long after that
}

// A Revoker is told once that its job has lost a permit while it runs and must stop. It must not
// block.
type Revoker interface{ Revoke() }

// Issue makes t the ticket of a job of s that takes this many bytes.
func (t *Ticket) Issue(s *Source, j *job.Record, size int, r Revoker) {
	t.source, t.job, t.size, t.revoker = s, j, size, r
}

// named is the job without what it carries: whoever settles it may be letting go of that.
func (t *Ticket) named() job.Record {
	return job.Record{Queue: t.job.Queue, Type: t.job.Type, ID: t.job.ID, Life: t.job.Life}
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

// Returned notes that the handler has returned, though the job's end may not be settled yet.
func (t *Ticket) Returned() { t.returned.Store(true) }

// GiveUp notes that the handler does not return: the job's slot is given back with
// [Ticket.Finished], its permit not before [Ticket.CameBack], which may have come just before.
func (t *Ticket) GiveUp() {
	t.source.slots.mu.Lock()
	defer t.source.slots.mu.Unlock()
	if t.phase == running {
		t.phase = givenUp
	}
}

// CameBack notes that a handler that was given up has returned after all, before the job's slot was
// given back or after.
func (t *Ticket) CameBack() {
	t.source.slots.update(func(*demand) {
		if t.phase == stuck {
			t.unstick()
			t.source.tickets.remove(t)
		}
		t.phase = back
	})
}

// Finished gives the job's slot back, if it had one, its handler having run for this long. Its
// permit comes with it unless the handler was given up.
func (t *Ticket) Finished(ran time.Duration) {
	t.source.slots.update(func(d *demand) { t.finish(d, ran) })
}

func (t *Ticket) finish(d *demand, ran time.Duration) {
	d.bytes -= t.size
	switch {
	case t.phase == waiting:
		d.handedBack(t.source)
	case t.call != nil:
		d.leftCall(t.source, t.call, ran)
	default:
		d.finished(t.source, ran)
	}
	t.source.slots.startNext()
	if t.phase == givenUp {
		t.stick()
	} else {
		t.source.tickets.remove(t)
	}
}

// PermitUntil returns when the permits of the job end unless they are renewed, zero if never.
func (t *Ticket) PermitUntil() time.Time {
	s := t.source.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, _ := t.source.revoked(t.stamp, time.Now()); !at.IsZero() {
		return at
	}
	return t.source.until()
}

// tickets is a list, so that to keep one costs no memory.
type tickets struct{ first *Ticket }

func (l *tickets) add(t *Ticket) {
	t.next = l.first
	if l.first != nil {
		l.first.prev = t
	}
	l.first = t
}

func (l *tickets) remove(t *Ticket) {
	switch {
	case t.prev != nil:
		t.prev.next = t.next
	case l.first == t:
		l.first = t.next
	default:
		return // it never was delivered
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
}
