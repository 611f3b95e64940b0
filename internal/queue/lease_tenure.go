package queue

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

// A tenure is the time in which the jobs that a consumer hands out are this worker's. It ends when the
// consumer turns out to be another one, because it was removed and made again, alone or with its
// stream. The broker has then forgotten who has which job, and hands all of them out again.
type tenure struct {
	created    time.Time // the consumer, by the broker
	replicated bool      // each request is a proposal to a Raft group
	ackWait    atomic.Int64
	over       atomic.Bool
}

// wait is the lease that the consumer gives.
func (t *tenure) wait() time.Duration { return time.Duration(t.ackWait.Load()) }

// A consumerPlace names a type in a queue.
type consumerPlace struct{ queue, typ job.Name }

// tenureOf returns the tenure of a consumer as the broker describes it now. If the consumer is not
// the one of before, the leases of that one are void. The error, which comes with a tenure, is
// [ErrAckWait] if the lease is not the one that this worker was told to give.
func (s *Store) tenureOf(ctx context.Context, at consumerPlace, info *jetstream.ConsumerInfo) (*tenure, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenures[at]
	if t == nil || !t.created.Equal(info.Created) {
		if t != nil && !t.over.Swap(true) {
			s.log.WarnContext(ctx, "the consumer of a type was removed and made again: its jobs in hand may run elsewhere and are stopped", slog.String("queue", at.queue.String()), slog.String("type", at.typ.String()))
		}
		t = &tenure{created: info.Created, replicated: info.Cluster != nil && len(info.Cluster.Replicas) > 0}
		s.tenures[at] = t
	}
	if was := time.Duration(t.ackWait.Swap(int64(info.Config.AckWait))); was != 0 && was != info.Config.AckWait {
		s.log.WarnContext(ctx, "the lease of a type was changed while workers run: adopted", slog.String("queue", at.queue.String()), slog.String("type", at.typ.String()), slog.Duration("was", was), slog.Duration("is", info.Config.AckWait))
	}
	return t, s.agree(at, info.Config.AckWait)
}

// agree returns an error that is [ErrAckWait] if a lease is not the one that this worker was
// told to give, or none that can be held.
func (s *Store) agree(at consumerPlace, has time.Duration) error {
	edit := "nats consumer edit " + s.names.queueStream(at.queue) + " " + at.typ.String() + " --wait"
	switch want := s.cfg.AckWait; {
	case has < MinAckWait:
		return fmt.Errorf("%w: type %s in queue %s has %v, at least %v is needed; change it while no job of the type runs, with: %s %v",
			ErrAckWait, at.typ, at.queue, has, MinAckWait, edit, DefaultAckWait)
	case want != 0 && has != want:
		return fmt.Errorf("%w: type %s in queue %s has %v, not %v; leave out --ack-wait, or change it while no job of the type runs, with: %s %v",
			ErrAckWait, at.typ, at.queue, has, want, edit, want)
	default:
		return nil
	}
}

// voidLeases ends the tenures of a queue's consumers from before its stream was made: the old stream
// is gone, and its consumers with it. Another puller may have a consumer of the new stream already.
func (s *Store) voidLeases(queue string, made time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, t := range s.tenures {
		if at.queue.String() == queue && t.created.Before(made) {
			t.over.Store(true)
		}
	}
}
