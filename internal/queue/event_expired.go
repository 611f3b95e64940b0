package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

const (
	// expiredFor is for how long a job has been overdue to start when somebody who waits for it ends
	// it: a worker that is about to get it does that first.
	expiredFor = time.Second

	expireWithin = 4 * time.Second // how long its end is tried to be written
)

// expiresIn returns in how long those who wait for a job may end it as expired, not positive if they
// may now. It reports false for one that does not expire, or of which that cannot be told.
func (s *Store) expiresIn(ctx context.Context, p job.Place, m *Message) (time.Duration, bool) {
	deadline := m.Deadline()
	if deadline.IsZero() || s.mayNotEnd.Load() {
		return 0, false
	}
	now, err := s.Now(ctx, p.Queue)
	if err != nil {
		return 0, false
	}
	return deadline.Add(expiredFor).Sub(now), true
}

// expire ends a job that has expired as a worker would that pulls it, and reports whether it did. It
// leaves it to the workers if one may have it in hand. So nobody waits for ever for a job of a type
// that no worker serves.
func (s *Store) expire(ctx context.Context, p job.Place, m *Message) bool {
	left, expires := s.expiresIn(ctx, p, m)
	if !expires || left > 0 || !m.RunAt.IsZero() {
		return false
	}
	if handedOut, err := s.handedOut(ctx, p, m.Seq); handedOut || err != nil {
		return false
	}
	t := &settlement{
		store: s, Outcome: Outcome{Kind: job.EventDead, Reason: job.ReasonExpired, Error: notStarted(&m.Record)},
		Delivery: &Delivery{
			Record: m.Record, place: p, Seq: m.Seq, lastEvent: m.LastEvent,
			holder: "waiter/" + rand.Text(), lease: newLease(expireWithin, time.Now()),
		},
	}
	err := t.endFirst(ctx)
	if errors.Is(err, nats.ErrPermissionViolation) { // those who may only enqueue and wait do not end jobs
		s.mayNotEnd.Store(true)
	}
	if err != nil {
		s.log.DebugContext(ctx, "an expired job that somebody waits for was not ended", append(t.attrs(), slog.Any("err", err))...)
		return false
	}
	return true
}

// handedOut reports whether a worker may have got the message of this sequence.
func (s *Store) handedOut(ctx context.Context, p job.Place, seq uint64) (bool, error) {
	c, err := s.client.Consumer(ctx, s.names.queueStream(p.Queue), p.Type.String())
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound): // no worker has ever served the type
		return false, nil
	case err != nil:
		return true, err
	}
	return c.CachedInfo().Delivered.Stream >= seq, nil
}

// endFirst is run for a writer who may not be allowed to: it writes the event once, and goes on if that
// was answered.
func (t *settlement) endFirst(ctx context.Context) error {
	e := t.event(time.Now())
	m, err := t.store.eventMsg(t.place, &e)
	if err != nil {
		return err
	}
	stream.Expect(m, t.lastEvent, m.Subject)
	seq, err := t.store.client.Publish(ctx, m)
	switch {
	case err == nil:
		t.lastEvent, t.confirmed = seq, true
	case !errors.Is(err, stream.ErrConflict): // which run looks into
		return err
	}
	return t.run(ctx)
}

// notStarted is why a job is dead that has expired.
func notStarted(r *job.Record) string { return "not started within " + r.Expires.String() }
