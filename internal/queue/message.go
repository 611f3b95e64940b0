package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

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
