package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

const (
	warnEvery   = 10 * time.Minute // between two warnings about the same
	nearlyFull  = 0.8              // of a limit
	atLimit     = 0.95
	wantHistory = 4 // leases that events should reach back for
)

// A StreamCheck looks after the stream of a queue and that of the events, and warns of what an
// operator should change in them.
type StreamCheck struct {
	store  *Store
	queue  job.Name
	warned map[string]time.Time // when, by what about
	looks  int                  // for types that wait
}

// NewStreamCheck returns the check of a queue.
func NewStreamCheck(s *Store, queue string) (*StreamCheck, error) {
	name, err := job.QueueName(queue)
	return &StreamCheck{store: s, queue: name, warned: make(map[string]time.Time)}, err
}

// Run checks once. It puts the pin back, which a purge has taken.
func (c *StreamCheck) Run(ctx context.Context) error {
	err := c.store.drivePin(ctx, c.queue)
	queueStream, queueErr := c.store.queueInfo(ctx, c.queue)
	if queueErr == nil {
		c.warnFull(ctx, queueStream)
	}
	events, eventsErr := c.store.client.Info(ctx, c.store.names.eventStream())
	if eventsErr == nil {
		c.warnHistory(ctx, events)
		c.noteReach(ctx, events)
	}
	return errors.Join(err, queueErr, eventsErr)
}

// Waiting returns types of which jobs are ready, as [Store.WaitingTypes] does. A long queue is looked
// at in one of six calls, and the first.
func (c *StreamCheck) Waiting(ctx context.Context) ([]string, error) {
	info, err := c.store.queueInfo(ctx, c.queue)
	if err != nil {
		return nil, err
	}
	c.looks++
	if info.State.Msgs > longQueue && c.looks%waitingEvery != 1 {
		return nil, nil
	}
	return c.store.waitingTypes(ctx, c.queue, info)
}

// due reports whether a warning is to be given now, rather than that it was a short while ago.
func (c *StreamCheck) due(what string) bool {
	if at, warned := c.warned[what]; warned && time.Since(at) < warnEvery {
		return false
	}
	c.warned[what] = time.Now()
	return true
}

// warnFull warns of a queue whose stream has a limit, which drops the oldest jobs.
func (c *StreamCheck) warnFull(ctx context.Context, info *jetstream.StreamInfo) {
	if used := usedOf(info); used < nearlyFull || !c.due("full") {
		return
	}
	c.store.log.WarnContext(ctx, "a queue is nearly as full as its stream may be, and then loses its oldest jobs: raise the limit, with nats stream edit, or add workers",
		slog.String("queue", c.queue.String()), slog.String("stream", info.Config.Name), slog.Int64("max_bytes", info.Config.MaxBytes), slog.Int64("max_msgs", info.Config.MaxMsgs),
		slog.Uint64("bytes", info.State.Bytes), slog.Uint64("messages", info.State.Msgs))
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

// warnHistory warns if events do not outlive a lease. By them a worker that gets a job after
// another vanished knows that it has ended.
func (c *StreamCheck) warnHistory(ctx context.Context, info *jetstream.StreamInfo) {
	lease := c.store.longestLease()
	reach, short := shortHistory(info, lease)
	if !short || !c.due("history") {
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
