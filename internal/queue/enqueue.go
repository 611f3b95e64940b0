package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// An Enqueue is one job to be put into its queue.
type Enqueue struct {
	Record *job.Record // with its life
	// Once refuses the job while another of its queue, type and id is alive. Without
	// it the id must be fresh.
	Once bool
	// Delay and RunAt, of which one is given at most, have the job wait for its time, by the broker's
	// clock. One that has come is no wait.
	Delay time.Duration
	RunAt time.Time
	// UniqueFor keeps the id taken for so long after the job's time, also when it has ended. It goes
	// with Once.
	UniqueFor time.Duration
	// Below, unless it is zero, refuses the job while that many of its type are alive in its queue.
	Below int

	place job.Place // of Record
}

// NewEnqueue returns the enqueue of r. It checks the names of r, which nothing after it does, so they
// must stay as they are. The error is a [*job.InvalidError].
func NewEnqueue(r *job.Record) (Enqueue, error) {
	place, err := r.Place()
	return Enqueue{Record: r, place: place}, err
}

// Enqueue stores a job and returns when the broker has it. It returns a
// [*DuplicateError] for a refused id, a [*QuotaError] for a type at its limit, and a
// [*TooLargeError] for a payload that is too large. It returns [ErrUnsupported] for an id that is to be
// kept in a queue whose stream cannot do so. With an ended context it sends nothing and returns
// [ErrNotSent].
func (s *Store) Enqueue(ctx context.Context, e Enqueue) error {
	if ctx.Err() != nil {
		return notSent(ctx)
	}
	if err := s.client.CheckConnected(); err != nil {
		return err
	}
	s.useQueue(e.place.Queue)
	f := s.newEffort()
	if err := s.schedule(ctx, &e, f.alive); err != nil {
		return err
	}
	return s.enqueue(ctx, e, f)
}

func notSent(ctx context.Context) error { return fmt.Errorf("%w: %w", ErrNotSent, context.Cause(ctx)) }

func (s *Store) enqueue(ctx context.Context, e Enqueue, f effort) error {
	if e.Below > 0 {
		return s.enqueueBelow(ctx, e, f.alive)
	}
	m, err := s.enqueueMsg(e)
	if err != nil {
		return err
	}
	for {
		_, err = s.confirm(ctx, m, f.remembered)
		switch {
		case errors.Is(err, errForgotten):
			if stored, err := s.isStored(ctx, e, f.alive); stored || err != nil {
				return err
			}
			stream.Expect(m, 0, s.names.check(e.place)) // the message that was sent first may come yet
			f.since = time.Now()
		case errors.Is(err, stream.ErrConflict):
			err = s.resolveConflict(ctx, e)
			if !errors.Is(err, ErrNotFound) { // the other job ended meanwhile
				return err
			}
		default:
			return Refusal(err)
		}
	}
}

// isRefusal reports whether err is the broker's word on a job.
func isRefusal(err error) bool {
	_, duplicate := errors.AsType[*DuplicateError](err)
	_, quota := errors.AsType[*QuotaError](err)
	return duplicate || quota
}

func (s *Store) enqueueMsg(e Enqueue) (*nats.Msg, error) {
	m := &nats.Msg{Header: make(nats.Header, 4)}
	return m, s.fillEnqueue(m, e)
}

// fillEnqueue makes m, whose header may be of another job before it, the message of e.
func (s *Store) fillEnqueue(m *nats.Msg, e Enqueue) error {
	r := e.Record
	if limit := s.payloadLimit(); len(r.Payload) > limit {
		return &TooLargeError{What: "payload", Size: len(r.Payload), Limit: limit, MaxPayload: s.nc.MaxPayload()}
	}
	r.Reused = e.Once
	r.SetHeader(m.Header)
	s.address(m, e.place, r.Due)
	m.Data = r.Payload
	m.Header[stream.HeaderMsgID] = append(m.Header[stream.HeaderMsgID], r.Life) // a fresh one per call, so a lost answer may be asked for again
	if e.Once {
		stream.Expect(m, 0, s.names.check(e.place))
	}
	return nil
}

// payloadLimit leaves room for the headers that a retry and a dead record add: half of what the
// server takes, where that is little. A connection that was never made knows no server.
func (s *Store) payloadLimit() int {
	most := int(s.nc.MaxPayload())
	if most <= 0 {
		return job.MaxPayload
	}
	return min(job.MaxPayload, max(most-maxHeaderOverhead, most/2))
}

// resolveConflict decides what a refused enqueue means: nil if the job in the way is e itself, a
// [*DuplicateError], or [ErrNotFound] if nothing is in the way any more.
func (s *Store) resolveConflict(ctx context.Context, e Enqueue) error {
	m, hold, err := s.findOrHold(ctx, e.place)
	r := e.Record
	switch {
	case err != nil:
		return err
	case m != nil && m.Life == r.Life, hold != nil && hold.Life == r.Life:
		return nil // it may even have ended since
	case m != nil:
		return &DuplicateError{Queue: r.Queue, Type: r.Type, ID: r.ID, Life: m.Life}
	default:
		return &DuplicateError{Queue: r.Queue, Type: r.Type, ID: r.ID, Life: hold.Life, Until: hold.Until}
	}
}
