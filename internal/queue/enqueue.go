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

// enqueueWithin bounds how long an enqueue tries to get an answer.
const enqueueWithin = 4 * time.Second

// An Enqueue is one job to be put into its queue.
type Enqueue struct {
	Record *job.Record // with its life
	// Once refuses the job while another of its queue, type and id is alive. Without
	// it the id must be fresh.
	Once bool
	// Limited refuses the job while Limit jobs of its type are alive in its queue.
	Limited bool
	Limit   int
}

// Enqueue stores a job and returns when the broker has it. It returns a
// [*DuplicateError] for a refused id, a [*QuotaError] for a type at its limit, and a
// [*TooLargeError] for a payload that is too large. With an ended context it sends nothing
// and returns [ErrNotSent].
func (s *Store) Enqueue(ctx context.Context, e Enqueue) error {
	if ctx.Err() != nil {
		return notSent(ctx)
	}
	if err := s.client.CheckConnected(); err != nil {
		return err
	}
	return s.enqueue(ctx, e, stream.Within(enqueueWithin))
}

func notSent(ctx context.Context) error { return fmt.Errorf("%w: %w", ErrNotSent, context.Cause(ctx)) }

func (s *Store) enqueue(ctx context.Context, e Enqueue, alive func() error) error {
	if e.Limited {
		return s.enqueueBelow(ctx, e, alive)
	}
	m, err := s.enqueueMsg(e)
	if err != nil {
		return err
	}
	for {
		_, err = s.confirm(ctx, m, alive)
		if !errors.Is(err, stream.ErrConflict) {
			return Refusal(err)
		}
		err = s.resolveConflict(ctx, e.Record)
		if !errors.Is(err, ErrNotFound) { // the other job ended meanwhile
			return err
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
	place, err := r.Place()
	if err != nil {
		return err
	}
	if limit := s.payloadLimit(); len(r.Payload) > limit {
		return &TooLargeError{What: "payload", Size: len(r.Payload), Limit: limit, MaxPayload: s.nc.MaxPayload()}
	}
	r.SetHeader(m.Header)
	m.Subject, m.Data = s.names.ready(place), r.Payload
	m.Header[stream.HeaderMsgID] = append(m.Header[stream.HeaderMsgID], r.Life) // a fresh one per call, so a lost answer may be asked for again
	if e.Once {
		stream.Expect(m, 0, s.names.check(place))
	}
	return nil
}

// jobMsg is the message of r, whose place is p: ready, or waiting for runAt if that is not zero.
func (s *Store) jobMsg(p job.Place, r *job.Record, runAt time.Time) *nats.Msg {
	m := &nats.Msg{Subject: s.names.ready(p), Header: r.Header(), Data: r.Payload}
	if !runAt.IsZero() {
		m.Header[stream.HeaderTarget] = []string{m.Subject}
		// Not nats.go's option: that truncates to seconds and so runs up to 1 s early.
		m.Header[stream.HeaderSchedule] = []string{"@at " + runAt.UTC().Format(time.RFC3339Nano)}
		m.Subject = s.names.later(p)
	}
	return m
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

// resolveConflict decides what a refused enqueue means: nil if the job in the way is r itself,
// [*DuplicateError], or [ErrNotFound] if nothing is in the way any more.
func (s *Store) resolveConflict(ctx context.Context, r *job.Record) error {
	place, err := r.Place()
	if err != nil {
		return err
	}
	m, err := s.Find(ctx, place)
	if err != nil {
		return err
	}
	if m.Life == r.Life {
		return nil
	}
	return &DuplicateError{Queue: r.Queue, Type: r.Type, ID: r.ID, Life: m.Life}
}

// A Message is a job as it waits in its queue.
type Message struct {
	job.Record
	Seq   uint64
	RunAt time.Time // zero: ready
}

// Find returns the newest message of an id, which waits or runs, or [ErrNotFound].
func (s *Store) Find(ctx context.Context, p job.Place) (*Message, error) {
	return s.message(ctx, p, s.names.check(p))
}

// message returns the newest message of an id on subject, or [ErrNotFound].
func (s *Store) message(ctx context.Context, p job.Place, subject string) (*Message, error) {
	got, err := s.client.Last(ctx, s.names.queueStream(p.Queue), subject)
	if err != nil {
		return nil, err
	}
	m := &Message{Record: job.Record{Queue: p.Queue.String(), Type: p.Type.String(), ID: p.ID.String(), Payload: got.Data}, Seq: got.Seq}
	_ = m.ReadHeader(got.Header) // what can be read is enough to tell lives apart
	if m.Life == "" {
		m.Life = lifeOf(got.Seq)
	}
	if m.EnqueuedAt.IsZero() {
		m.EnqueuedAt = got.Time
	}
	if at, ok := cutSchedule(got.Header.Get(stream.HeaderSchedule)); ok {
		m.RunAt = at
	}
	return m, nil
}

// lifeOf names the life of a job whose publisher gave none.
func lifeOf(seq uint64) string { return fmt.Sprintf("seq-%d", seq) }

func cutSchedule(v string) (time.Time, bool) {
	if len(v) < 4 || v[:4] != "@at " {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, v[4:])
	return t, err == nil
}
