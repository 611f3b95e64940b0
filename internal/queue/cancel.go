package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// Orders are where an order to cancel is given; the registry's are.
type Orders interface {
	// GiveOrder writes an order, and notes its revision in it.
	GiveOrder(ctx context.Context, o *job.Order) error
	// ShowOrder has all workers note an order that was given: what reaches a worker after it has
	// answered does not start.
	ShowOrder(ctx context.Context, o *job.Order) (job.Answers, error)
	// OrderDone notes that an order is carried out. It holds on until it expires.
	OrderDone(ctx context.Context, o *job.Order) error
}

// Cancelled says what became of a job that was to be cancelled.
type Cancelled struct {
	Worker     string   // that runs it, and has told its handler; empty: the job had not started
	Batch      bool     // the worker runs it with others in one call, and has told nobody
	Unanswered []string // workers that did not answer
}

const (
	// collectWithin is how long before its time the broker may have taken a schedule to fire it.
	// From then on it fires whatever becomes of its message, and takes with it whatever schedule its
	// id has by then. So it is let fire, and what it becomes is removed.
	collectWithin = time.Second

	fireWithin = 30 * time.Second // of its time a schedule has fired, however many are due with it
	firePoll   = 50 * time.Millisecond

	cancelWithin = 10 * time.Second // how long a write of a cancel is tried
)

// Cancel ends the job of an order, whose life is empty for the newest, if nothing has ended it yet:
//
//  1. the order is given, so that it will be carried out even if this caller dies at any step
//  2. all workers note it: what they get from now on does not start, what they run is told to end
//  3. the event of the end is written, on the condition that the last event is still the last
//  4. the message is deleted, and what came in its place meanwhile
//  5. the order is noted as done
//
// A worker that is cut off does not hear of it in time. It finds the order when it is back, and what
// it writes about the job before is refused. Cancel returns a [*FinishedError], or [ErrNotFound].
func (s *Store) Cancel(ctx context.Context, o *job.Order, orders Orders) (Cancelled, error) {
	p, err := job.PlaceOf(o.Queue, o.Type, o.ID)
	if err != nil {
		return Cancelled{}, err
	}
	life, err := s.living(ctx, p, o.Life())
	if err != nil {
		return Cancelled{}, err
	}
	o.Lives = []string{life}
	if err := orders.GiveOrder(ctx, o); err != nil {
		return Cancelled{}, err
	}
	return s.CarryOut(ctx, o, orders)
}

// CarryOut does what is left to do of an order of one job, from the second step on.
func (s *Store) CarryOut(ctx context.Context, o *job.Order, orders Orders) (Cancelled, error) {
	p, err := job.PlaceOf(o.Queue, o.Type, o.ID)
	if err != nil {
		return Cancelled{}, err
	}
	answers, err := orders.ShowOrder(ctx, o)
	if err != nil {
		return Cancelled{}, err
	}
	c := Cancelled{Unanswered: answers.Unanswered}
	if h, ok := answers.Runner(o.Type, o.ID, o.Life()); ok {
		c.Worker, c.Batch = h.Worker, h.Batch // which notes that the order is done when the job has ended
		return c, nil
	}
	removal := &removal{store: s, place: p, life: o.Life(), order: o, unanswered: len(c.Unanswered) > 0}
	err = removal.run(ctx)
	c.Worker = removal.worker
	if _, finished := errors.AsType[*FinishedError](err); err != nil && !finished && !errors.Is(err, ErrNotFound) {
		return Cancelled{}, err // whoever claims the order goes on
	}
	if err := orders.OrderDone(ctx, o); err != nil {
		s.log.DebugContext(ctx, "an order to cancel is not noted as done: a worker will find that it is")
	}
	return c, err
}

// living returns the life that is to be cancelled, the newest if life is empty.
func (s *Store) living(ctx context.Context, p job.Place, life string) (string, error) {
	for {
		m, err := s.Find(ctx, p)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return "", err
		}
		if err == nil && m.Life == "" { // its publisher gave none
			fired, err := s.letFire(ctx, p, m)
			if err != nil {
				return "", err
			}
			if fired {
				continue
			}
			m.Life = lifeOf(m.Seq)
		}
		waits := err == nil && (life == "" || life == m.Life)
		if waits && life == "" {
			life = m.Life
		}
		end, _, err := s.endOf(ctx, p, life)
		switch {
		case err != nil:
			return "", err
		case end != nil && (!waits || !requested(end)): // else it is half cancelled
			return "", &FinishedError{State: end.Kind.State()}
		case waits:
			return life, nil
		default:
			return "", ErrNotFound
		}
	}
}

// endOf returns the final event of a life, nil if there is none, and the sequence of the id's last
// event. An empty life is that of the last event.
func (s *Store) endOf(ctx context.Context, p job.Place, life string) (end *Event, last uint64, err error) {
	newest, err := s.LastEvent(ctx, p)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	case life == "" || newest.Life == life:
		if newest.Kind.Final() {
			end = newest
		}
		return end, newest.Sequence, nil
	}
	err = s.eachEvent(ctx, p, func(e *Event) bool {
		if e.Life == life && e.Kind.Final() {
			end = e
		}
		return end == nil
	})
	return end, newest.Sequence, err
}

// requested reports whether an event is the end of a life that somebody cancelled.
func requested(end *Event) bool {
	return end.Kind == job.EventCancelled && end.Reason == job.ReasonRequested
}

// A removal ends one life that no worker runs, and removes its messages.
type removal struct {
	store      *Store
	place      job.Place
	life       string
	order      *job.Order
	unanswered bool // a worker may have the job in hand and not know

	worker string // that ran the job after all, and has ended it as it was told
	own    bool   // the event of the end is this one's
}

// run removes until nothing is left. It returns a [*FinishedError] if the life ended otherwise, and
// [ErrNotFound] if nothing is known of it.
func (r *removal) run(ctx context.Context) error {
	for conflicts := (stream.Conflicts{}); ; {
		m, err := r.store.Find(ctx, r.place)
		switch {
		case errors.Is(err, ErrNotFound):
			return r.check(ctx)
		case err != nil:
			return err
		}
		if m.Life == "" {
			m.Life = lifeOf(m.Seq)
		}
		if m.Life != r.life {
			return r.check(ctx)
		}
		end, last, err := r.store.endOf(ctx, r.place, r.life)
		switch {
		case err != nil:
			return err
		case end != nil && !requested(end):
			return &FinishedError{State: end.Kind.State()} // whoever ended it removes the message
		case end == nil:
			ended, err := r.end(ctx, m, last)
			if err != nil {
				return err
			}
			if !ended {
				if err := conflicts.Wait(ctx); err != nil {
					return err
				}
				continue
			}
		}
		if err := r.remove(ctx, m); err != nil {
			return err
		}
	}
}

// check finds out how a life of which no message is left has ended.
func (r *removal) check(ctx context.Context) error {
	end, _, err := r.store.endOf(ctx, r.place, r.life)
	switch {
	case err != nil:
		return err
	case end == nil:
		return ErrNotFound
	case !requested(end):
		return &FinishedError{State: end.Kind.State()}
	case !end.StartedAt.IsZero():
		r.worker = end.Node
	}
	return nil
}

// end writes the event of the end, if the last event is still the one known. It reports false if it
// is not.
func (r *removal) end(ctx context.Context, m *Message, last uint64) (bool, error) {
	succeeded, err := r.store.lost(ctx, &m.Record) // a worker that is cut off may have it in hand
	if err != nil {
		return false, wrap(err, "what was counted of %s in its workflow", r.place.ID)
	}
	e := Event{
		Kind: job.EventCancelled, Life: r.life, Seq: m.Seq, Time: time.Now().UTC(), Node: r.store.cfg.Node,
		Attempt: m.Attempt, Crashes: m.Crashes, Reason: job.ReasonRequested, Error: r.order.Reason,
		EnqueuedAt: m.EnqueuedAt.UTC(),
	}
	if succeeded {
		e.Kind, e.Reason, e.Error = job.EventSucceeded, "", ""
	}
	msg, err := r.store.eventMsg(r.place, &e)
	if err != nil {
		return false, err
	}
	stream.Expect(msg, last, msg.Subject)
	_, err = r.store.confirm(ctx, msg, stream.Within(cancelWithin))
	if errors.Is(err, stream.ErrConflict) {
		return false, nil
	}
	r.own = err == nil && !succeeded
	return err == nil, wrap(err, "event of %s", r.place.ID)
}

// remove deletes a message of a life that has ended.
func (r *removal) remove(ctx context.Context, m *Message) error {
	if fired, err := r.store.letFire(ctx, r.place, m); fired || err != nil {
		return err
	}
	if err := r.keepID(ctx, m); err != nil {
		return err
	}
	if err := r.store.arrive(ctx, &m.Record, job.EventCancelled, nil); err != nil {
		return wrap(err, "count the end of %s in its workflow", r.place.ID)
	}
	return wrap(r.store.client.Remove(ctx, r.store.names.queueStream(r.place.Queue), m.Seq), "delete %s", r.place.ID)
}

// keepID keeps the id taken for as long as the enqueue asked for, if the job may have done something
// by now. It comes before the message is deleted, as at any other end.
func (r *removal) keepID(ctx context.Context, m *Message) error {
	if m.UniqueUntil.IsZero() || !r.store.keepsIDs(r.place.Queue) || !r.mayHaveStarted(ctx, m) {
		return nil
	}
	now, err := r.store.Now(ctx, r.place.Queue)
	if err != nil || !m.UniqueUntil.After(now) {
		return err
	}
	hold := r.store.holdMsg(r.place, r.life, m.UniqueUntil)
	stream.Expect(hold, m.Seq, r.store.names.check(r.place))
	_, err = r.store.confirm(ctx, hold, stream.Within(cancelWithin))
	if errors.Is(err, stream.ErrConflict) {
		return nil // it is kept already, or by what has come in the place of m
	}
	return wrap(err, "keep id %s", r.place.ID)
}

// mayHaveStarted reports whether the job of a message has started, or nobody can tell. What was handed
// out, and is in the hand of no worker that answered, may be in that of one which did not, or has died:
// the registry forgets those long before their leases end.
func (r *removal) mayHaveStarted(ctx context.Context, m *Message) bool {
	if m.HasStarted() || r.unanswered {
		return true
	}
	if !m.RunAt.IsZero() {
		return false
	}
	handedOut, err := r.store.handedOut(ctx, r.place, m.Seq)
	return handedOut || err != nil
}

// untilDue returns how long a message waits for its time, and whether the broker may have taken it by
// now to fire it. A ready one does not wait.
func (s *Store) untilDue(ctx context.Context, p job.Place, m *Message) (wait time.Duration, collected bool, err error) {
	if m.RunAt.IsZero() {
		return 0, false, nil
	}
	now, err := s.Now(ctx, p.Queue)
	wait = m.RunAt.Sub(now)
	return wait, wait < collectWithin, err
}

// letFire waits until a schedule that is about to be due has fired, and reports whether it was one.
func (s *Store) letFire(ctx context.Context, p job.Place, m *Message) (fired bool, err error) {
	wait, collected, err := s.untilDue(ctx, p, m)
	if err != nil || !collected {
		return false, err
	}
	alive := stream.Within(max(wait, 0) + fireWithin)
	for {
		_, err := s.client.Get(ctx, s.names.queueStream(p.Queue), m.Seq)
		switch {
		case errors.Is(err, ErrNotFound):
			return true, nil
		case err != nil:
			return false, err
		}
		if alive() != nil {
			return false, fmt.Errorf("job %s is due, and the broker has not made it ready for %v: it is cancelled and will not start, and its message is removed later", p.ID, fireWithin)
		}
		if err := stream.Sleep(ctx, firePoll); err != nil {
			return false, err
		}
	}
}
