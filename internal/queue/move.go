package queue

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// The broker takes what is due out of its store first and writes it later, without looking whether
// it is still there. What replaces it in between is lost on one server, and on a cluster the job is
// there twice. So a job is not moved any more from moveGuard before its time, and if the answer comes
// later than moveBelieved before it, its write may have come in between.
const (
	moveGuard    = collectWithin
	moveBelieved = moveGuard / 2
)

// ErrNotScheduled says that a job does not wait for its time, or not for more than a second.
var ErrNotScheduled = errors.New("job is due")

// ErrChanged says that a job is not as it was seen: it ran meanwhile and waits again, or was moved.
var ErrChanged = errors.New("job has changed since it was looked at")

// Move changes when a job that waits for its time is due; an empty life is the newest. It returns
// [ErrNotScheduled], a [*FinishedError] or [ErrNotFound].
func (s *Store) Move(ctx context.Context, p job.Place, life string, at time.Time) error {
	v := &move{store: s, place: p, life: life, at: at, alive: s.patience()}
	return v.run(ctx)
}

// RunNow ends a job's wait. One that is due already, or runs, is left as it is. It returns a
// [*FinishedError] or [ErrNotFound].
func (s *Store) RunNow(ctx context.Context, p job.Place, life string) error {
	v := &move{store: s, place: p, life: life, alive: s.patience()}
	err := v.run(ctx)
	if _, finished := errors.AsType[*FinishedError](err); finished && v.old > 0 || errors.Is(err, ErrNotScheduled) {
		return nil // it runs, or did after it was told to
	}
	return err
}

// MoveSeen is [Store.Move], or [Store.RunNow] for the zero time, of a job whose message was seen with a
// sequence, and that waits for its time with that one still. It returns [ErrChanged] if it does not.
func (s *Store) MoveSeen(ctx context.Context, p job.Place, life string, seen uint64, at time.Time) error {
	v := &move{store: s, place: p, life: life, seen: seen, at: at, alive: s.patience()}
	return v.run(ctx)
}

// A move puts another message in the place of one that waits for its time.
type move struct {
	store *Store
	place job.Place
	life  string
	seen  uint64       // sequence that the message has to have; 0: any
	at    time.Time    // zero: now
	alive func() error // how long it is tried

	// Of the last attempt.
	old    uint64    // sequence of the message that was to be replaced; 0: there was no attempt
	oldDue time.Time // when that is due
	due    time.Time // when the new one is
}

func (v *move) run(ctx context.Context) error {
	for pause := stream.RetryPause; ; pause = min(2*pause, stream.MaxRetryPause) {
		m, err := v.find(ctx)
		switch {
		case err != nil:
			return err
		case v.isOurs(m):
			return v.confirm(ctx)
		}
		if err := v.plan(ctx, m); err != nil {
			return err
		}
		_, err = v.store.client.Publish(ctx, v.message(m))
		switch {
		case err == nil:
			return v.confirm(ctx)
		case errors.Is(err, stream.ErrConflict): // something happened to the job meanwhile
			err = ErrNotScheduled
		case !passing(err) || ctx.Err() != nil:
			return Refusal(err)
		}
		if v.alive() != nil {
			return err
		}
		if err := stream.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// find returns the newest message of the life.
func (v *move) find(ctx context.Context) (*Message, error) {
	m, err := stream.RetryRead(ctx, v.alive, func(ctx context.Context) (*Message, error) { return v.store.Find(ctx, v.place) })
	switch {
	case errors.Is(err, ErrNotFound), err == nil && v.life != "" && m.Life != v.life:
		return nil, v.ended(ctx)
	case err != nil:
		return nil, err
	}
	if v.seen > 0 && m.Seq != v.seen && !m.RunAt.IsZero() && !v.isOurs(m) {
		return nil, ErrChanged
	}
	v.life = m.Life
	return m, nil
}

// ended returns how the life ended that has no message.
func (v *move) ended(ctx context.Context) error {
	e, err := stream.RetryRead(ctx, v.alive, func(ctx context.Context) (*Event, error) { return v.store.finalEvent(ctx, v.place, v.life) })
	if err != nil {
		return err
	}
	return &FinishedError{State: e.Kind.State()}
}

// isOurs reports whether m is what an earlier attempt wrote, whose answer was lost.
func (v *move) isOurs(m *Message) bool { return v.old > 0 && m.Seq != v.old && m.RunAt.Equal(v.due) }

// plan decides whether m may be moved, and to when.
func (v *move) plan(ctx context.Context, m *Message) error {
	now, err := v.store.awaitNow(ctx, v.place.Queue, v.alive)
	if err != nil {
		return err
	}
	if m.RunAt.Sub(now) < moveGuard { // of one that is ready it is zero
		return ErrNotScheduled
	}
	v.old, v.oldDue, v.due = m.Seq, m.RunAt, v.at
	if v.due.IsZero() {
		v.due = now
	}
	return checkDue(v.due, now)
}

// message is m with another time.
func (v *move) message(m *Message) *nats.Msg {
	moved := &nats.Msg{Header: nats.Header{}, Data: m.Payload}
	for k, values := range m.header {
		if !ofTheBroker(k) {
			moved.Header[k] = values
		}
	}
	times := job.Record{Due: v.due, EnqueuedAt: m.EnqueuedAt}
	maps.Copy(moved.Header, times.Header())
	v.store.address(moved, v.place, v.due)
	stream.Expect(moved, v.old, v.store.names.check(v.place))
	return moved
}

// confirm returns nil if what was written is the job's only message: it was surely there before the
// broker could have taken the one that it replaced.
func (v *move) confirm(ctx context.Context) error {
	now, err := v.store.awaitNow(ctx, v.place.Queue, v.alive)
	if err != nil {
		return err
	}
	left := v.oldDue.Sub(now)
	if left >= moveBelieved {
		return nil
	}
	if err := stream.Sleep(ctx, left+moveGuard); err != nil { // until it is fired, if it is
		return err
	}
	v.alive = v.store.patience()
	later, err := stream.RetryRead(ctx, v.alive, func(ctx context.Context) (*Message, error) {
		return v.store.message(ctx, v.place, v.store.names.later(v.place))
	})
	switch {
	case errors.Is(err, ErrNotFound), err == nil && !v.isOurs(later):
		return ErrNotScheduled
	case err != nil:
		return err
	}
	fired, err := stream.RetryRead(ctx, v.alive, v.fired)
	if err != nil || !fired {
		return err
	}
	if err := v.store.client.Remove(ctx, v.store.names.queueStream(v.place.Queue), later.Seq); err != nil {
		return err
	}
	return ErrNotScheduled
}

// fired reports whether the message that was replaced became ready all the same.
func (v *move) fired(ctx context.Context) (bool, error) {
	ready, err := v.store.message(ctx, v.place, v.store.names.ready(v.place))
	if !errors.Is(err, ErrNotFound) {
		return err == nil && ready.Life == v.life, err
	}
	last, err := v.store.LastEvent(ctx, v.place)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && last.Life == v.life && last.Seq > v.old, err
}
