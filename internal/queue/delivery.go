package queue

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// A Delivery is a job's message in the hand of this worker, under a lease.
type Delivery struct {
	job.Record
	slots.Ticket
	place     job.Place
	origin    string // the subject, as header text, of a message that has no usable place and got one of ours
	Seq       uint64 // of the message in the queue's stream
	Delivered uint64 // how often the broker has handed it out; above 1 it is not run
	Pending   uint64 // how many more of its type waited behind it
	Malformed error  // why it cannot be run, if so
	Scheduled bool   // the broker made it ready when its time came

	holder     string // names this delivery among all deliveries to all workers
	reply      string // where acks go
	stored     int64  // when the message was, by the broker's clock, in Unix nanoseconds
	lastEvent  uint64 // sequence of the last event known of the id
	startedAt  time.Time
	finishedAt time.Time    // zero: its handler was not called, or runs
	seenAt     atomic.Int64 // startedAt for other goroutines, in Unix nanoseconds
	lease      *lease
	repeated   bool        // the broker has handed it out before, or may have
	left       atomic.Bool // its slot is free: the handler has returned, or was given up
	store      *Store
	progress   atomic.Pointer[progress] // nil: the handler has said nothing of it
	traced     atomic.Pointer[traced]   // nil: the run is not
	settlement settlement               // in the settler's hand
	weight     int64                    // bytes that it takes there
	shed       int                      // bytes of the payload, if that was dropped to save memory
}

// hold reads a message that the consumer of a type delivered, whose pull request was sent at
// sent.
func (s *Store) hold(m *nats.Msg, queue, typ job.Name, ackWait time.Duration, sent time.Time) (*Delivery, error) {
	d, err := stream.ReadMetadata(m)
	if err != nil {
		return nil, fmt.Errorf("delivery on %s: %w", m.Subject, err)
	}
	both := &struct { // one allocation
		Delivery
		lease lease
	}{lease: lease{ackWait: ackWait, since: sent}}
	h := &both.Delivery
	h.store = s
	h.Seq, h.Delivered, h.Pending, h.stored = d.Seq, d.Delivered, d.Pending, d.Time.UnixNano()
	h.Scheduled = len(m.Header[stream.HeaderScheduler]) > 0
	h.holder = s.holder(s.deliveries.Add(1))
	h.reply = m.Reply
	h.lease = &both.lease
	h.Malformed = cmp.Or(h.ReadHeader(m.Header), unreadable(m))
	h.Payload = m.Data
	h.lastEvent = h.LastEvent
	if h.Life == "" {
		h.Life = lifeOf(h.Seq)
	}
	if h.EnqueuedAt.IsZero() {
		h.EnqueuedAt = d.Time
	}
	if err := h.readPlace(s.names, m.Subject); err != nil {
		h.misplaced(queue, typ, m.Subject, err)
	}
	h.Queue, h.Type, h.ID = h.place.Queue.String(), h.place.Type.String(), h.place.ID.String()
	return h, nil
}

// unreadable returns an error if a message came with headers none of which could be read. The client
// library delivers it without headers, so only its size shows that there were any. What they asked
// for, such as a number of attempts or a timeout, is not known.
func unreadable(m *nats.Msg) error {
	lost := m.Size() - len(m.Subject) - len(m.Reply) - len(m.Data)
	if m.Header != nil || lost <= 0 {
		return nil
	}
	return fmt.Errorf("headers of %d bytes: a line of them is no header, so none was read", lost)
}

// readPlace takes the job's place from its subject, if it is one.
func (h *Delivery) readPlace(n names, subject string) error {
	r, ok := n.parseJobSubject(subject)
	if !ok {
		return fmt.Errorf("subject %q: no job's", head(subject, maxSubjectShown))
	}
	p, err := r.Place()
	h.place = p
	return err
}

// maxSubjectShown is how much of a foreign subject an error repeats, bytes.
const maxSubjectShown = 80

// misplaced gives a message whose subject is not a job's a place of its own to be buried at. Nothing
// else has that name: there is no known event, and no publisher has chosen its life.
func (h *Delivery) misplaced(queue, typ job.Name, subject string, why error) {
	h.place = job.Place{Queue: queue, Type: typ, ID: job.Malformed(h.Seq)}
	h.Malformed, h.origin = why, headerText(subject)
	h.Life, h.lastEvent, h.LastEvent = lifeOf(h.Seq), 0, 0
}

// headerText returns s, quoted unless it is text that a header can carry.
func headerText(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// holder names a delivery to this node.
func (s *Store) holder(delivery uint64) string {
	var buf [128]byte
	b := append(append(buf[:0], s.cfg.Node...), '/')
	return string(strconv.AppendUint(b, delivery, 10))
}

// sameLife reports whether o is about the same life of the same job.
func (h *Delivery) sameLife(o *Delivery) bool {
	return h.Life == o.Life && h.ID == o.ID && h.Type == o.Type && h.Queue == o.Queue
}

// Alive returns [ErrLeaseLost] once the job may run elsewhere.
func (h *Delivery) Alive() error { return h.lease.alive() }

// LetGo ends the lease here, as if it were lost: the broker hands the job out again once it has ended there.
func (h *Delivery) LetGo() { h.lease.letGo() }

// LeaseUntil is when the lease or a permit that the job runs on ends unless it is renewed.
func (h *Delivery) LeaseUntil() time.Time {
	lease, permit := h.lease.until(), h.PermitUntil()
	if !permit.IsZero() && permit.Before(lease) {
		return permit
	}
	return lease
}

// OnLost has f called when the lease is lost ([ErrLeaseLost]) or a permit
// ([slots.ErrPermitLost]), at once if it is. Only one f is kept.
func (h *Delivery) OnLost(f func(cause error)) { h.lease.watch(f) }

// Start takes a slot and notes that the handler starts now. It waits for a slot for a second at
// most, and not beyond ctx. It returns [slots.ErrNoSlot], [slots.ErrNoPermit] or [ErrLeaseLost];
// in any case [Delivery.Finished] gives back what the job has.
func (h *Delivery) Start(ctx context.Context) error {
	if err := h.Ticket.Start(ctx); err != nil {
		return err
	}
	now := time.Now()
	if err := h.lease.check(now); err != nil {
		return err
	}
	h.startedAt = now
	h.seenAt.Store(h.startedAt.UnixNano())
	return nil
}

// NotStarted takes back what [Delivery.Start] noted: the handler is not called after all.
func (h *Delivery) NotStarted() {
	h.startedAt = time.Time{}
	h.seenAt.Store(0)
}

// Node is the worker in whose hand it is.
func (h *Delivery) Node() string { return h.store.cfg.Node }

// Stored is when the message was, by the broker's clock; zero if that is not known.
func (h *Delivery) Stored() time.Time {
	if h.stored == 0 {
		return time.Time{}
	}
	return time.Unix(0, h.stored)
}

// StartedAt is when the handler started, zero if it did not. It may be called from any goroutine.
func (h *Delivery) StartedAt() time.Time {
	at := h.seenAt.Load()
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}

// Waited is for how long it was ready before its handler was called, by the broker's clock; 0 if it was not.
func (h *Delivery) Waited() time.Duration {
	started := h.StartedAt()
	if started.IsZero() || h.Stored().IsZero() {
		return 0
	}
	return max(started.Sub(h.Stored())-h.store.ClockOffset(), 0)
}

// SinceFinished is how long ago its handler returned or was given up; false if it was not called. It
// is for those who have the job after that.
func (h *Delivery) SinceFinished() (time.Duration, bool) {
	if h.finishedAt.IsZero() {
		return 0, false
	}
	return time.Since(h.finishedAt), true
}

// Left reports whether the job is finished: its handler has returned, or was given up.
func (h *Delivery) Left() bool { return h.left.Load() }

// Finished gives the job's slot back, and its permit unless its handler was given up. It returns how
// long the handler took, 0 if it was not called.
func (h *Delivery) Finished() (ran time.Duration) {
	ran = h.Ran()
	h.Ticket.Finished(ran)
	return ran
}
