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

// jobMsg is the message of r, whose place is p: ready, or waiting for runAt if that is not zero.
func (s *Store) jobMsg(p job.Place, r *job.Record, runAt time.Time) *nats.Msg {
	m := &nats.Msg{Header: r.Header(), Data: r.Payload}
	s.address(m, p, runAt)
	return m
}

// address has m be ready, or wait for runAt if that is not zero.
func (s *Store) address(m *nats.Msg, p job.Place, runAt time.Time) {
	m.Subject = s.names.ready(p)
	if runAt.IsZero() {
		return
	}
	m.Header[stream.HeaderTarget] = []string{m.Subject}
	m.Header[stream.HeaderSchedule] = []string{schedule(runAt)}
	m.Subject = s.names.later(p)
}

// A Message is a job as it waits in its queue.
type Message struct {
	job.Record // without a life if it waits for its time and its publisher gave none
	Seq        uint64
	RunAt      time.Time // zero: ready
	Stored     time.Time // when this message was, by the broker's clock

	header nats.Header // as it is stored
}

// Find returns the newest message of an id, which waits or runs, or [ErrNotFound]. A hold is no
// message of a job.
func (s *Store) Find(ctx context.Context, p job.Place) (*Message, error) {
	m, _, err := s.findOrHold(ctx, p)
	if err == nil && m == nil {
		err = ErrNotFound
	}
	return m, err
}

// findOrHold returns the newest message of an id's jobs, and its hold if that is newer: nil for
// what there is not, and [ErrNotFound] if that is both. They are both there while a job ends.
func (s *Store) findOrHold(ctx context.Context, p job.Place) (*Message, *Hold, error) {
	newest, err := s.client.Last(ctx, s.names.queueStream(p.Queue), s.names.check(p))
	if err != nil {
		return nil, nil, err
	}
	if !s.names.isHold(newest.Subject) {
		return messageOf(p, newest), nil, nil
	}
	var m *Message
	for _, subject := range []string{s.names.ready(p), s.names.later(p)} {
		got, err := s.message(ctx, p, subject)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return nil, nil, err
		case m == nil || got.Seq > m.Seq:
			m = got
		}
	}
	return m, holdOf(newest), nil
}

// message returns the newest message of an id on subject, or [ErrNotFound].
func (s *Store) message(ctx context.Context, p job.Place, subject string) (*Message, error) {
	got, err := s.client.Last(ctx, s.names.queueStream(p.Queue), subject)
	if err != nil {
		return nil, err
	}
	return messageOf(p, got), nil
}

// messageOf reads a stored message of an id.
func messageOf(p job.Place, got *stream.Message) *Message {
	m := &Message{Record: job.Record{Queue: p.Queue.String(), Type: p.Type.String(), ID: p.ID.String(), Payload: got.Data}, Seq: got.Seq, Stored: got.Time.UTC(), header: got.Header}
	_ = m.ReadHeader(got.Header) // what can be read is enough to tell lives apart
	if at, ok := cutSchedule(got.Header.Get(stream.HeaderSchedule)); ok {
		m.RunAt = at
	}
	if m.Life == "" && m.RunAt.IsZero() { // what the broker makes ready has another sequence than now
		m.Life = lifeOf(got.Seq)
	}
	if m.EnqueuedAt.IsZero() {
		m.EnqueuedAt = got.Time
	}
	return m
}

// findLife returns a message of this life, which need not be the newest of its id, or [ErrNotFound]. It
// asks for one subject at a time, since with a wildcard the broker goes through all that is stored
// behind the last message of the id.
func (s *Store) findLife(ctx context.Context, p job.Place, life string) (*Message, error) {
	for _, subject := range s.names.alive(p) {
		for from := uint64(1); ; {
			m, err := s.client.Next(ctx, s.names.queueStream(p.Queue), subject, from)
			if errors.Is(err, ErrNotFound) {
				break
			}
			if err != nil {
				return nil, err
			}
			if lifeIn(m) == life {
				return messageOf(p, m), nil
			}
			from = m.Seq + 1
		}
	}
	return nil, ErrNotFound
}

// lifeOf names the life of a job whose publisher gave none.
func lifeOf(seq uint64) string { return fmt.Sprintf("seq-%d", seq) }

// schedule is what the broker reads as a time. nats.go's own option truncates it to seconds, and so is
// up to a second early.
func schedule(at time.Time) string { return "@at " + at.UTC().Format(time.RFC3339Nano) }

func cutSchedule(v string) (time.Time, bool) {
	if len(v) < 4 || v[:4] != "@at " {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, v[4:])
	return t, err == nil
}
