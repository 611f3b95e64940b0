package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

const (
	tellAgain   = 10 * time.Minute // about what goes on to be wrong
	nearlyFull  = 0.8              // of a limit
	atLimit     = 0.95
	wantHistory = 4 // leases that events should reach back for
)

// A Census looks after a queue's stream, and tells what an operator should know of it and of
// the events.
type Census struct {
	store *Store
	queue job.Name
	told  map[string]time.Time
}

// NewCensus returns a census of a queue.
func NewCensus(s *Store, queue string) (*Census, error) {
	name, err := job.QueueName(queue)
	return &Census{store: s, queue: name, told: make(map[string]time.Time)}, err
}

// Take looks once. It puts the pin back, which a purge has taken.
func (c *Census) Take(ctx context.Context) error {
	err := c.store.drivePin(ctx, c.queue)
	queueStream, queueErr := c.look(ctx, c.store.names.queueStream(c.queue))
	if queueErr == nil {
		c.tellFull(ctx, queueStream)
	}
	events, eventsErr := c.look(ctx, c.store.names.eventStream())
	if eventsErr == nil {
		c.tellHistory(ctx, events)
	}
	return errors.Join(err, queueErr, eventsErr)
}

func (c *Census) look(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, stream.RequestTimeout)
	defer cancel()
	st, err := c.store.js.Stream(ctx, name)
	if err != nil {
		return nil, wrap(err, "look up stream %s", name)
	}
	return st.CachedInfo(), nil
}

// again reports whether what goes by the name is to be told now.
func (c *Census) again(what string) bool {
	if at, told := c.told[what]; told && time.Since(at) < tellAgain {
		return false
	}
	c.told[what] = time.Now()
	return true
}

// tellFull warns of a queue whose stream has a limit, which drops the oldest jobs.
func (c *Census) tellFull(ctx context.Context, info *jetstream.StreamInfo) {
	if used := usedOf(info); used < nearlyFull || !c.again("full") {
		return
	}
	c.store.log.WarnContext(ctx, "a queue is nearly as full as its stream may be, and then loses its oldest jobs: raise the limit, with nats stream edit, or add workers",
		slog.String("queue", c.queue.String()), slog.String("stream", info.Config.Name), slog.Int64("max_bytes", info.Config.MaxBytes), slog.Int64("max_msgs", info.Config.MaxMsgs),
		slog.Uint64("bytes", info.State.Bytes), slog.Uint64("msgs", info.State.Msgs))
}

// usedOf returns how much of its tightest limit a stream has, from 0 to 1; 0 without limits.
func usedOf(info *jetstream.StreamInfo) (used float64) {
	if limit := info.Config.MaxBytes; limit > 0 {
		used = float64(info.State.Bytes) / float64(limit)
	}
	if limit := info.Config.MaxMsgs; limit > 0 {
		used = max(used, float64(info.State.Msgs)/float64(limit))
	}
	return used
}

// tellHistory warns if events do not outlive a lease. They are what tells that a job has ended
// to whoever gets it after its worker vanished.
func (c *Census) tellHistory(ctx context.Context, info *jetstream.StreamInfo) {
	lease := c.store.longestLease()
	reach, short := shortHistory(info, lease)
	if !short || !c.again("history") {
		return
	}
	rate := float64(info.State.Msgs) / max(reach.Seconds(), 1)
	c.store.log.WarnContext(ctx, "events are kept for less than two leases: a job whose worker vanishes may run again though it had ended; keep more of them, with nats stream edit --max-msgs, or give shorter leases",
		slog.String("stream", info.Config.Name), slog.Duration("kept", reach.Round(time.Second)), slog.Duration("lease", lease), slog.Int64("max_msgs", info.Config.MaxMsgs),
		slog.Int("events_per_second", int(rate)), slog.Int64("max_msgs_needed", int64(rate*wantHistory*lease.Seconds())))
}

// shortHistory returns how far the events reach back, and whether that is too short: the
// stream is full, and drops what is younger than two leases.
func shortHistory(info *jetstream.StreamInfo, lease time.Duration) (reach time.Duration, short bool) {
	reach = info.State.LastTime.Sub(info.State.FirstTime)
	return reach, usedOf(info) >= atLimit && reach < 2*lease
}

// longestLease is that of all consumers that this store knows.
func (s *Store) longestLease() (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tenures {
		longest = max(longest, t.wait())
	}
	return longest
}
