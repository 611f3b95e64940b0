package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

const (
	clockFor    = time.Minute           // a measurement holds, over one connection
	clockAgain  = 5 * time.Second       // after one that failed
	clockJumped = time.Second           // of this machine's clock, after which it is measured anew
	clockLook   = 10 * time.Millisecond // between two looks whether the connection is another
	clockTold   = time.Second           // how far off a machine's clock is that is told
)

// A clock is how far the broker's is from this machine's, as the leader of one queue's stream has
// it: the one that makes jobs ready.
type clock struct {
	measuring chan struct{} // capacity 1: by one at a time

	mu         sync.Mutex
	offset     time.Duration // to be added to this machine's time
	at         time.Time     // when that was measured; zero: never
	failed     time.Time     // when it could not be, after that
	reconnects uint64        // of the connection, then
}

// reconnects is how often a connection was lost and is back. It is asked under the connection's lock, for which
// each caller would wait while others write: so most go by what was seen lately.
type reconnects struct {
	mu    sync.Mutex
	at    time.Time
	count uint64
}

// lately is what it was at most a clockLook before now.
func (r *reconnects) lately(nc *nats.Conn, now time.Time) uint64 {
	r.mu.Lock()
	count, recent := r.count, now.Sub(r.at) < clockLook
	r.mu.Unlock()
	if recent {
		return count
	}
	return r.now(nc)
}

// now asks the connection.
func (r *reconnects) now(nc *nats.Conn) uint64 {
	now, count := time.Now(), nc.Stats().Reconnects
	r.mu.Lock()
	defer r.mu.Unlock()
	if count >= r.count {
		r.at, r.count = now, count
	}
	return count
}

// Now returns the time by the clock of the broker that makes the jobs of a queue ready. Whatever
// is an absolute time in a message is made by it: this machine's clock may be minutes off.
//
// It asks the broker where it has not for a minute, or not over this connection, which is seen within
// 10 ms. While that fails,
// what was known before goes on. If nothing was, the error says that; it is never this machine's
// own time instead.
func (s *Store) Now(ctx context.Context, queue job.Name) (time.Time, error) {
	c := s.clockOf(queue)
	now := time.Now()
	offset, known, stale := c.read(now, s.reconnects.lately(s.nc, now))
	if !stale {
		return now.Add(offset), nil
	}
	select {
	case c.measuring <- struct{}{}:
		defer func() { <-c.measuring }()
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
	if offset, _, stale := c.read(time.Now(), s.reconnects.now(s.nc)); !stale { // somebody else was first
		return time.Now().Add(offset), nil
	}
	_, err := s.queueInfo(ctx, queue)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s.useQueue(queue)
		if err = s.ensure(ctx, queue); err == nil {
			_, err = s.queueInfo(ctx, queue)
		}
	}
	if err != nil && !known {
		return time.Time{}, fmt.Errorf("the broker's time is not known: %w", err)
	}
	if err != nil {
		c.fail(time.Now())
		return time.Now().Add(offset), nil
	}
	offset, _, _ = c.read(time.Now(), 0)
	return time.Now().Add(offset), nil
}

// knownNow is Now without asking the broker. It reports false where that would.
func (s *Store) knownNow(queue job.Name) (time.Time, bool) {
	now := time.Now()
	offset, _, stale := s.clockOf(queue).read(now, s.reconnects.lately(s.nc, now))
	return now.Add(offset), !stale
}

// queueInfo returns what is to be known of a queue's stream, and reads the broker's clock by the way.
func (s *Store) queueInfo(ctx context.Context, queue job.Name) (*jetstream.StreamInfo, error) {
	name := s.names.queueStream(queue)
	reconnects, sent := s.reconnects.now(s.nc), time.Now()
	info, err := s.client.Info(ctx, name)
	if err != nil {
		return nil, err
	}
	offset := offsetOf(sent, time.Now(), info.TimeStamp)
	s.clockOf(queue).set(offset, time.Now(), reconnects)
	s.tellClock(ctx, offset)
	return info, nil
}

// offsetOf returns how far the broker's clock is ahead of this machine's: it said what time it was
// between sent and received. What cannot be told from none is none.
func offsetOf(sent, received, broker time.Time) time.Duration {
	roundTrip := received.Sub(sent)
	offset := broker.Sub(sent.Add(roundTrip / 2).Round(0))
	if offset.Abs() < roundTrip {
		return 0
	}
	return offset
}

// tellClock says once that this machine's clock is off.
func (s *Store) tellClock(ctx context.Context, offset time.Duration) {
	if offset.Abs() < clockTold {
		s.clockTold.Store(false)
		return
	}
	if s.clockTold.Swap(true) {
		return
	}
	direction := "behind"
	if offset < 0 {
		direction = "ahead of"
	}
	//nolint:sloglint // by how much is what a person reads it for
	s.log.WarnContext(ctx, fmt.Sprintf("this machine's clock is %v %s the broker's; the broker's is used", offset.Abs().Round(time.Second), direction),
		slog.Duration("offset", -offset.Round(time.Millisecond)))
}

// ClockOffset returns how far this machine's clock is ahead of the broker's, of the queue where that
// is the most; 0 if that is not known.
func (s *Store) ClockOffset() (ahead time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clocks {
		if offset, _, _ := c.read(time.Now(), 0); offset.Abs() > ahead.Abs() {
			ahead = -offset
		}
	}
	return ahead
}

func (s *Store) clockOf(queue job.Name) *clock {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clocks[queue]
	if c == nil {
		c = &clock{measuring: make(chan struct{}, 1)}
		s.clocks[queue] = c
	}
	return c
}

// read returns the offset, whether one is known, and whether it is to be measured.
func (c *clock) read(now time.Time, reconnects uint64) (offset time.Duration, known, stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.IsZero() {
		return 0, false, true
	}
	if !c.failed.IsZero() && now.Sub(c.failed) < clockAgain {
		return c.offset, true, false
	}
	passed := now.Sub(c.at)
	jumped := now.Round(0).Sub(c.at.Round(0)) - passed
	return c.offset, true, passed >= clockFor || jumped.Abs() >= clockJumped || reconnects != c.reconnects
}

func (c *clock) set(offset time.Duration, at time.Time, reconnects uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset, c.at, c.failed, c.reconnects = offset, at, time.Time{}, reconnects
}

func (c *clock) fail(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = at
}

// now is [Store.Now] for a settlement, which waits for it as for anything that it has to know.
func (t *settlement) now(ctx context.Context) (time.Time, error) {
	return readFor(ctx, t, "the broker's time", func(ctx context.Context) (time.Time, error) {
		return t.store.Now(ctx, t.place.Queue)
	})
}
