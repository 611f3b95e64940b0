package queue

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

const (
	cancelsInFlight = 256
	renewOrderEvery = 10 * time.Second // well before a worker takes whoever gave it for dead
	withdrawWithin  = 5 * time.Second
)

// ManyOrders are where an order for many jobs is given.
type ManyOrders interface {
	Orders
	// RenewOrder lets an order hold for longer.
	RenewOrder(ctx context.Context, o *job.Order) error
	// WithdrawOrder ends an order at once: what it has not reached runs.
	WithdrawOrder(ctx context.Context, o *job.Order) error
}

// A CancelledJob is one of many.
type CancelledJob struct {
	Queue, Type, ID, Life string
	Cancelled
}

// CancelMany gives an order about the jobs that are there now, and carries it out. Whoever leaves the
// loop, or ends ctx, withdraws it: what is in flight is finished, and jobs that it has not reached run.
func (s *Store) CancelMany(ctx context.Context, f JobFilter, o *job.Order, orders ManyOrders) iter.Seq2[CancelledJob, error] {
	return func(yield func(CancelledJob, error) bool) {
		err := s.orderMany(ctx, f, o)
		if err == nil {
			err = orders.GiveOrder(ctx, o)
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return
		}
		if err != nil {
			yield(CancelledJob{}, err)
			return
		}
		left := true // also by a panic
		defer func() {
			if left || ctx.Err() != nil {
				s.withdraw(ctx, o, orders)
			}
		}()
		for c, err := range s.CarryOutMany(ctx, o, orders) {
			if !yield(c, err) {
				return
			}
		}
		left = false
	}
}

// withdraw ends an order whose caller has left.
func (s *Store) withdraw(ctx context.Context, o *job.Order, orders ManyOrders) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawWithin)
	defer cancel()
	if err := orders.WithdrawOrder(ctx, o); err != nil {
		s.log.WarnContext(ctx, "an order to cancel jobs could not be withdrawn: a worker will go on with it", slog.String("queue", o.Queue), slog.Any("err", err))
	}
}

// orderMany makes o an order of the jobs that a filter matches now.
func (s *Store) orderMany(ctx context.Context, f JobFilter, o *job.Order) error {
	info, err := s.queueInfo(ctx, f.Queue) // which makes no stream
	if err != nil {
		return err
	}
	o.Queue, o.Type, o.States, o.DueBy, o.Nonce = f.Queue.String(), f.Type, f.States, f.DueBy, uuid.NewString()
	o.Before = info.TimeStamp.UTC()
	return nil
}

// CarryOutMany does what is left to do of an order of many jobs. It yields those that run, whose
// handlers are told, and then each that it has removed; none of them starts from the first one on. An
// error comes last.
func (s *Store) CarryOutMany(ctx context.Context, o *job.Order, orders ManyOrders) iter.Seq2[CancelledJob, error] {
	return func(yield func(CancelledJob, error) bool) {
		answers, err := orders.ShowOrder(ctx, o)
		if err != nil {
			yield(CancelledJob{}, err)
			return
		}
		c := newClearance(s, o, &answers)
		for _, h := range answers.Held {
			job := CancelledJob{o.Queue, h.Type, h.ID, h.Life, Cancelled{Worker: h.Worker, Batch: h.Batch, Unanswered: answers.Unanswered}}
			if h.Told && !yield(job, nil) {
				return
			}
		}
		work, stop := context.WithCancel(ctx)
		var parts sync.WaitGroup
		defer parts.Wait()
		defer func() {
			stop()
			for range c.done { // a loop that is left, or that panics, leaves some
				continue
			}
		}()
		parts.Go(func() { c.run(work) })
		renewed := *o // as it is now: it changes when it is done
		parts.Go(func() { renewOrder(work, renewed, orders) })
		for job := range c.done {
			if !yield(job, nil) {
				return // what is in flight is finished
			}
		}
		if c.err != nil {
			yield(CancelledJob{}, c.err)
			return
		}
		yieldDropped(ctx, o, orders, yield)
	}
}

// yieldDropped notes that an order is carried out, and yields the jobs that workers had in hand
// meanwhile and have ended themselves.
func yieldDropped(ctx context.Context, o *job.Order, orders ManyOrders, yield func(CancelledJob, error) bool) {
	err := orders.OrderDone(ctx, o)
	var answers job.Answers
	if err == nil {
		answers, err = orders.ShowOrder(ctx, o)
	}
	for _, h := range answers.Held {
		if h.Dropped && !yield(CancelledJob{o.Queue, h.Type, h.ID, h.Life, Cancelled{Unanswered: answers.Unanswered}}, nil) {
			return
		}
	}
	if err != nil {
		yield(CancelledJob{}, err)
	}
}

// renewOrder has an order hold until ctx ends.
func renewOrder(ctx context.Context, o job.Order, orders ManyOrders) {
	for stream.Sleep(ctx, renewOrderEvery) == nil {
		_ = orders.RenewOrder(ctx, &o) // whoever takes it over does the same
	}
}

// A clearance removes the messages of all jobs that match an order.
type clearance struct {
	store      *Store
	order      *job.Order
	runs       map[[3]string]bool // what workers run, by type, id and life
	unanswered []string           // workers
	done       chan CancelledJob  // closed at the end
	room       chan struct{}      // for one that is in flight

	stop context.CancelFunc // nothing more is begun

	mu  sync.Mutex
	due []*Message // those that may have been taken to be fired: they are removed once they are ready
	err error      // read once done is closed
}

func newClearance(s *Store, o *job.Order, a *job.Answers) *clearance {
	c := &clearance{
		store: s, order: o, runs: make(map[[3]string]bool, len(a.Held)), unanswered: a.Unanswered,
		done: make(chan CancelledJob, cancelsInFlight), room: make(chan struct{}, cancelsInFlight),
	}
	for _, h := range a.Held {
		c.runs[[3]string{h.Type, h.ID, h.Life}] = !h.Dropped
	}
	return c
}

// run goes through the queue until nothing matches: what has come in the place of a message that was
// seen is behind it.
func (c *clearance) run(ctx context.Context) {
	defer close(c.done)
	ctx, c.stop = context.WithCancel(ctx)
	defer c.stop()
	for from, matched := uint64(1), true; matched; {
		upTo, err := c.lastSequence(ctx)
		if err == nil && from <= upTo {
			matched, err = c.pass(ctx, stream.Scan{Subject: c.subject(), From: from, UpTo: upTo})
		} else {
			matched = false
		}
		if err != nil {
			c.fail(err)
			return
		}
		from = upTo + 1
	}
}

func (c *clearance) lastSequence(ctx context.Context) (uint64, error) {
	name, err := job.QueueName(c.order.Queue)
	if err != nil {
		return 0, err
	}
	info, err := c.store.queueInfo(ctx, name)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

func (c *clearance) subject() string {
	typ := c.order.Type
	if typ == "" {
		typ = "*"
	}
	return c.store.names.join(c.order.Queue, "*", typ, "*")
}

// pass removes what matches in a part of the stream, and reports whether anything did.
func (c *clearance) pass(ctx context.Context, what stream.Scan) (matched bool, err error) {
	name, err := job.QueueName(c.order.Queue)
	if err != nil {
		return false, err
	}
	var flights sync.WaitGroup
	defer flights.Wait()
	for got, err := range c.store.client.Scan(ctx, c.store.names.queueStream(name), what) {
		if err != nil {
			return matched, err
		}
		m, p, ok := c.match(got)
		if !ok {
			continue
		}
		matched = true
		switch _, collected, err := c.store.untilDue(ctx, p, m); {
		case err != nil:
			return matched, err
		case collected:
			c.due = append(c.due, m)
			continue
		}
		c.fly(ctx, &flights, m, p)
	}
	flights.Wait()
	due := c.due
	c.due = nil
	for _, m := range due {
		p, err := m.Place()
		if err != nil {
			continue
		}
		c.fly(ctx, &flights, m, p)
	}
	return matched, ctx.Err()
}

// match reads a message, and reports whether it is one of a job that is to be removed.
func (c *clearance) match(got *stream.Message) (*Message, job.Place, bool) {
	m := c.store.jobIn(got)
	if m == nil {
		return nil, job.Place{}, false // no job's that could run
	}
	p, err := m.Place()
	if err != nil {
		return nil, job.Place{}, false
	}
	if m.Due.IsZero() {
		m.Due = m.RunAt
	}
	if m.Life == "" {
		m.Life = lifeOf(m.Seq)
	}
	runs := c.runs[[3]string{m.Type, m.ID, m.Life}]
	return m, p, !runs && c.order.Matches(&m.Record, m.State())
}

// fly removes one job beside others, as soon as there is room.
func (c *clearance) fly(ctx context.Context, flights *sync.WaitGroup, m *Message, p job.Place) {
	select {
	case c.room <- struct{}{}:
	case <-ctx.Done():
		return
	}
	flights.Go(func() {
		defer func() { <-c.room }()
		// What is begun is finished, though its caller leaves.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fireWithin+cancelWithin)
		defer cancel()
		switch own, err := c.remove(ctx, m, p); {
		case own:
			c.done <- CancelledJob{m.Queue, m.Type, m.ID, m.Life, Cancelled{Unanswered: c.unanswered}}
		case err == nil: // a worker has ended it, and will say so
		case !gone(err):
			c.fail(err)
		}
	})
}

// gone reports whether a job could not be cancelled since it has ended.
func gone(err error) bool {
	_, finished := errors.AsType[*FinishedError](err)
	return finished || errors.Is(err, ErrNotFound)
}

func (c *clearance) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.stop()
}

// remove ends the life of a message and deletes it, and reports whether the end is this one's. What
// comes in its place is met later on.
func (c *clearance) remove(ctx context.Context, m *Message, p job.Place) (own bool, err error) {
	r := &removal{store: c.store, place: p, life: m.Life, order: c.order, unanswered: len(c.unanswered) > 0}
	_, collected, err := c.store.untilDue(ctx, p, m)
	if err != nil {
		return false, err
	}
	if collected { // it may have fired meanwhile
		err = r.run(ctx)
		return r.own && err == nil, err
	}
	ended, err := r.end(ctx, m, m.LastEvent)
	switch {
	case err != nil:
	case ended:
		err = r.remove(ctx, m)
	default: // another event is the last: look what it says
		err = r.run(ctx)
	}
	return r.own && err == nil, err
}
