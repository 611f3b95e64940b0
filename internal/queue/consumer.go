package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// ensureConsumer makes the one consumer of a type where it does not exist, and
// returns the lease it gives. An existing one keeps its lease: workers that disagree
// would take each other's running jobs.
func (s *Store) ensureConsumer(ctx context.Context, queue, typ job.Name) (ackWait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	stream := s.names.queueStream(queue)
	cfg := jetstream.ConsumerConfig{
		Durable:       typ.String(),
		Description:   "ready jobs of type " + typ.String(),
		FilterSubject: s.names.readyOf(queue, typ),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       s.cfg.AckWait,
		// No limits: the broker would enforce them by hiding jobs.
		MaxDeliver: -1, MaxAckPending: -1, MaxWaiting: maxWaitingPulls,
	}
	if cfg.AckWait == 0 {
		cfg.AckWait = defaultAckWait
	}
	c, err := s.js.Consumer(ctx, stream, typ.String())
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		c, err = s.js.CreateConsumer(ctx, stream, cfg)
		if apiCode(err) == consumerExistsAsIs { // made meanwhile, with another lease
			c, err = s.js.Consumer(ctx, stream, typ.String())
		}
	}
	if err != nil {
		return 0, wrap(err, "consumer %s of queue %s", typ, queue)
	}
	got := c.CachedInfo().Config
	if s.cfg.AckWait != 0 && got.AckWait != s.cfg.AckWait {
		return 0, fmt.Errorf("%w: type %s in queue %s has %v, not %v; leave --ack-wait away, or stop all workers and change it with: nats consumer edit %s %s --wait %v",
			ErrAckWait, typ, queue, got.AckWait, s.cfg.AckWait, stream, typ, s.cfg.AckWait)
	}
	return got.AckWait, nil
}

// pending returns how many jobs of a type are ready and not handed out.
func (s *Store) pending(ctx context.Context, queue, typ job.Name) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	c, err := s.js.Consumer(ctx, s.names.queueStream(queue), typ.String())
	if err != nil {
		return 0, err
	}
	return c.CachedInfo().NumPending, nil
}

// CheckLease makes sure of a type's consumer, so that a worker whose lease differs is
// told at once. The error is [ErrAckWait] then.
func (s *Store) CheckLease(ctx context.Context, queue, typ string) error {
	q, err := job.QueueName(queue)
	if err != nil {
		return err
	}
	t, err := job.TypeName(typ)
	if err != nil {
		return err
	}
	_, err = s.ensureConsumer(ctx, q, t)
	return err
}

// Passing reports whether what failed with err may succeed later: the broker did not
// answer, or is not ready.
func Passing(err error) bool {
	if err == nil || errors.Is(err, ErrAckWait) || stream.Final(err) || errors.Is(err, nats.ErrConnectionClosed) {
		return false
	}
	return passing(err)
}
