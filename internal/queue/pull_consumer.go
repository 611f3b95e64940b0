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

// MinAckWait is the shortest lease. A broker keeps leases to the second, and a renewal needs the last
// third of a lease.
const MinAckWait = time.Second

// ensureConsumer makes the one consumer of a type if it does not exist, and returns its tenure. An
// existing consumer keeps its lease: workers that disagree would take each other's running jobs.
func (s *Store) ensureConsumer(ctx context.Context, queue, typ job.Name) (*tenure, error) {
	if err := s.client.CheckConnected(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, stream.SetupTimeout)
	defer cancel()
	name := s.names.queueStream(queue)
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
		cfg.AckWait = DefaultAckWait
	}
	c, err := s.client.Consumer(ctx, name, typ.String())
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		c, err = s.client.CreateConsumer(ctx, name, cfg)
		if stream.Code(err) == stream.CodeConsumerExists { // made meanwhile, with another lease
			c, err = s.client.Consumer(ctx, name, typ.String())
		}
	}
	if stream.Code(err) == stream.CodeConsumerLimit {
		return nil, fmt.Errorf("consumer %s of queue %s cannot be made: the account or the stream %s allows no more; each type of a queue takes one: raise max_consumers (%w)",
			typ, queue, name, err)
	}
	if err != nil {
		return nil, wrap(err, "consumer %s of queue %s", typ, queue)
	}
	info := c.CachedInfo()
	if err := stream.Answering(info.Config.Metadata).Check(); err != nil {
		return nil, err
	}
	return s.tenureOf(ctx, consumerPlace{queue, typ}, info)
}

// consumerInfo returns a type's consumer as it is now.
func (s *Store) consumerInfo(ctx context.Context, queue, typ job.Name) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, stream.RequestTimeout)
	defer cancel()
	c, err := s.client.Consumer(ctx, s.names.queueStream(queue), typ.String())
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}

// CheckLease makes sure that a type's consumer exists and has the lease that this worker was told to
// give. The error is [ErrAckWait] if the lease differs.
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
	return err != nil && !Final(err) && !errors.Is(err, nats.ErrConnectionClosed) && passing(err)
}

// Final reports whether err is about what the broker is or how it was configured, so that only an
// operator can change it.
func Final(err error) bool { return errors.Is(err, ErrAckWait) || stream.Final(err) }
