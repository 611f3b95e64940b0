package queue

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A Revival says how a dead job is to run again, where that is to be other than before.
type Revival struct {
	MaxAttempts int           // 0: as it was
	Timeout     time.Duration // 0: as it was
	Delay       time.Duration // as of an [Enqueue], as is RunAt
	RunAt       time.Time
	Alone       bool // outside of the workflow that it was of
}

// A requeue is one dead job on its way back into its queue. Two writes follow each other: the
// job's message, in a life of its own, and the removal of the record. Whoever crashes in between,
// or does it a second time, finds that life again, since it is derived from the one that died:
//
//	its message waits or runs   ──► it was requeued: the record goes
//	an event of it is known     ──► it was requeued, and has run since: the record goes
//	neither                     ──► its message is stored, if the id is free
//
// Between the look at the events and the write somebody else may have requeued the job, and it may
// have ended. Such a second message does not run either: see [Store.EndedBefore]. Nor does the
// job run once more for a second record of its death: both lead to the same life.
type requeue struct {
	Enqueue
	store *Store
	dead  *DeadJob
}

// Requeue has a dead job, of a place and with the sequence of its record, run again under its id. It
// returns the job's new life. To do it twice is to do it once. Of a workflow's own job it is to retry the workflow.
//
// It returns a [*job.InvalidError] for what cannot run, a [*DuplicateError] if another job with the
// id is alive, and [ErrNotFound] if there is no such record, and the job was not requeued from it.
func (s *Store) Requeue(ctx context.Context, p job.Place, died string, record uint64, how Revival) (life string, err error) {
	d, err := s.readDead(ctx, record)
	if errors.Is(err, ErrNotFound) {
		return s.requeuedBefore(ctx, p, job.RequeuedLife(died))
	}
	if err != nil {
		return "", err
	}
	if place, err := d.Place(); err != nil || place != p {
		return "", ErrNotFound
	}
	if d.ofWorkflowItself() {
		return s.requeueWorkflow(ctx, d, how)
	}
	q, err := s.newRequeue(d, how)
	if err != nil {
		return "", err
	}
	if err := q.run(ctx, s.patience()); err != nil {
		return "", err
	}
	return q.Record.Life, s.RemoveDead(ctx, record)
}

// ofWorkflowItself reports whether the dead job is that of a workflow, and not one by which it drives itself.
func (d *DeadJob) ofWorkflowItself() bool {
	return d.Type == job.WorkflowType && !strings.Contains(d.ID, "--")
}

// requeueWorkflow retries the workflow whose own job is dead, and returns its new life.
func (s *Store) requeueWorkflow(ctx context.Context, d *DeadJob, how Revival) (life string, err error) {
	name := "dead job " + d.ID
	switch {
	case how.Alone:
		return "", &job.InvalidError{What: name, Rule: "is a workflow, and no step that could run outside of one"}
	case how != Revival{}:
		return "", &job.InvalidError{What: name, Rule: "is a workflow, whose retry takes no options"}
	case s.steps == nil:
		return "", &job.InvalidError{What: name, Rule: "is a workflow: retry that (millhand workflow retry)"}
	}
	if life, err = s.steps.Requeue(ctx, d.ID, d.Life); err != nil {
		return "", err
	}
	return life, s.RemoveDead(ctx, d.Seq)
}

// newRequeue returns a [*job.InvalidError] for a dead job that cannot run as it is.
func (s *Store) newRequeue(d *DeadJob, how Revival) (*requeue, error) {
	name := "dead job " + d.ID
	switch {
	case d.PayloadOmitted > 0:
		return nil, &job.InvalidError{What: name, Rule: "is without its payload, which was too large to be kept: enqueue it anew"}
	case d.Origin != "":
		return nil, &job.InvalidError{What: name, Rule: "was published on " + d.Origin + ", which is no job's subject: publish it on a good one"}
	case d.Type == job.WorkflowType:
		return nil, &job.InvalidError{What: name, Rule: "is one by which a workflow drives itself: retry the workflow (millhand workflow retry)"}
	case d.InWorkflow() && !how.Alone:
		return nil, &job.InvalidError{What: name, Rule: "is of a workflow, which has counted its end and would not have it run: retry the workflow (millhand workflow retry), or have it run outside of it (millhand retry --alone)"}
	}
	r := d.Record
	r.Workflow = ""
	r.Life, r.RetryOf = job.RequeuedLife(d.Life), d.Life
	r.Attempt, r.Crashes, r.Started, r.From = 1, 0, false, ""
	r.EnqueuedAt, r.Due = time.Time{}, time.Time{} // it expires anew
	r.Awaited = true                               // an end in silence could not be told from none
	if how.MaxAttempts > 0 {
		r.MaxAttempts = how.MaxAttempts
	}
	if how.Timeout > 0 {
		r.Timeout = how.Timeout
	}
	e, err := NewEnqueue(&r)
	if err != nil {
		return nil, err
	}
	e.Once, e.Delay, e.RunAt = true, how.Delay, how.RunAt
	return &requeue{Enqueue: e, store: s, dead: d}, nil
}

// run stores the job's message unless that was done before, for as long as alive returns nil.
func (q *requeue) run(ctx context.Context, alive func() error) error {
	s := q.store
	if err := s.client.CheckConnected(); err != nil {
		return err
	}
	s.useQueue(q.place.Queue)
	f := effort{alive: alive}
	if err := s.schedule(ctx, &q.Enqueue, f.alive); err != nil {
		return err
	}
	for after := uint64(0); ; {
		done, err := q.endedBefore(ctx, f.alive)
		if err != nil || done {
			return err
		}
		m, err := s.enqueueMsg(q.Enqueue)
		if err != nil {
			return err
		}
		stream.Expect(m, after, s.names.check(q.place))
		f.since = time.Now()
		_, err = s.confirm(ctx, m, f.remembered)
		switch {
		case errors.Is(err, stream.ErrConflict):
			after, done, err = q.resolve(ctx, f.alive)
			if err != nil || done {
				return err
			}
		case errors.Is(err, errForgotten): // look again before it is sent again
		default:
			return Refusal(err)
		}
	}
}

// resolve decides what a refused write means: that it was done before, by whomever; that another
// job has the id; or that it is to be tried again, after the message with a sequence, 0 for none.
func (q *requeue) resolve(ctx context.Context, alive func() error) (after uint64, done bool, err error) {
	m, hold, err := q.store.findOrHoldWithin(ctx, q.place, alive)
	r := q.Record
	switch {
	case errors.Is(err, ErrNotFound): // it has left meanwhile
		return 0, false, nil
	case err != nil:
		return 0, false, err
	case m != nil && m.Life == r.Life, hold != nil && hold.Life == r.Life:
		return 0, true, nil
	case m != nil:
		if m.Life == q.dead.Life { // about to be acknowledged; until then its worker may write the record again
			err = stream.Sleep(ctx, stream.RetryPause)
			if err != nil || alive() == nil {
				return 0, false, err
			}
		}
		return 0, false, &DuplicateError{Queue: r.Queue, Type: r.Type, ID: r.ID, Life: m.Life}
	case hold.Life == q.dead.Life:
		return hold.Seq, false, nil
	default:
		return 0, false, &DuplicateError{Queue: r.Queue, Type: r.Type, ID: r.ID, Life: hold.Life, Until: hold.Until}
	}
}

// endedBefore reports whether there are events of the new life, and notes what the first of them is
// to follow if there is none.
func (q *requeue) endedBefore(ctx context.Context, alive func() error) (bool, error) {
	last, err := stream.RetryRead(ctx, alive, func(ctx context.Context) (*Event, error) {
		return q.store.LastEvent(ctx, q.place)
	})
	if errors.Is(err, ErrNotFound) {
		q.Record.LastEvent = 0
		return false, nil
	}
	if err != nil {
		return false, err
	}
	q.Record.LastEvent = last.Sequence
	return stream.RetryRead(ctx, alive, func(ctx context.Context) (bool, error) {
		return q.store.hasEventsOf(ctx, q.place, q.Record, last)
	})
}

// hasEventsOf reports whether there are events of a requeued life. last is the last event of the id.
func (s *Store) hasEventsOf(ctx context.Context, p job.Place, r *job.Record, last *Event) (bool, error) {
	switch last.Life {
	case r.Life:
		return true, nil
	case r.RetryOf: // all of the new life would stand behind its end
		return false, nil
	}
	return s.hasEvent(ctx, p, r.Life)
}

// findOrHoldWithin is findOrHold, asked for as long as alive returns nil.
func (s *Store) findOrHoldWithin(ctx context.Context, p job.Place, alive func() error) (m *Message, hold *Hold, err error) {
	_, err = stream.RetryRead(ctx, alive, func(ctx context.Context) (_ struct{}, err error) {
		m, hold, err = s.findOrHold(ctx, p)
		return struct{}{}, err
	})
	return m, hold, err
}

// requeuedBefore returns life if the job is known by it, else [ErrNotFound].
func (s *Store) requeuedBefore(ctx context.Context, p job.Place, life string) (string, error) {
	alive := s.patience()
	m, hold, err := s.findOrHoldWithin(ctx, p, alive)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", err
	}
	known := m != nil && m.Life == life || hold != nil && hold.Life == life
	if !known {
		known, err = stream.RetryRead(ctx, alive, func(ctx context.Context) (bool, error) { return s.hasEvent(ctx, p, life) })
		if err != nil {
			return "", err
		}
	}
	if !known {
		return "", ErrNotFound
	}
	return life, nil
}

// EndedBefore reports whether a requeued job in hand has ended already. Whoever requeues a job looks
// whether somebody else has done so, and then writes; if he is held up in between, for however long,
// the other's message may have come, run and left, and his is stored as well. It must not run.
func (s *Store) EndedBefore(ctx context.Context, h *Delivery) (bool, error) {
	if h.RetryOf == "" || h.From != "" {
		return false, nil
	}
	t := &settlement{store: s, Delivery: h}
	last, err := t.readLastEvent(ctx)
	if err != nil || last.Sequence == h.LastEvent {
		return false, err
	}
	return readFor(ctx, t, "history", func(ctx context.Context) (bool, error) {
		return s.hasEventsOf(ctx, h.place, &h.Record, last)
	})
}
