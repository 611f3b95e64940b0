package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	internal "github.com/millhand/millhand/internal/stream"
)

// refused reports whether an error of a consumer will not pass by itself.
func refused(err error) bool {
	return errors.Is(err, ErrInvalid) || internal.IsRefusal(err)
}

// open finds or makes the durable.
func (s *shared) open(ctx context.Context, client *internal.Client) (consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, internal.RequestTimeout)
	defer cancel()
	found, err := client.Consumer(ctx, s.cfg.Stream, s.cfg.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		found, err = client.CreateConsumer(ctx, s.cfg.Stream, s.consumerConfig())
	}
	if err != nil {
		return consumer{}, fmt.Errorf("consumer %s of stream %s: %w", s.cfg.Durable, s.cfg.Stream, err)
	}
	cfg := found.CachedInfo().Config
	if err := s.fits(&cfg); err != nil {
		return consumer{}, fmt.Errorf("%w: consumer %s of stream %s %w", ErrInvalid, s.cfg.Durable, s.cfg.Stream, err)
	}
	s.renewals.ackWait.Store(int64(cfg.AckWait))
	c := consumer{
		stream: s.cfg.Stream, name: s.cfg.Durable, group: s.cfg.Group, priority: s.cfg.Priority, minPending: s.cfg.MinPending,
		batch: cfg.MaxRequestBatch, lifetime: min(requestLifetime, cfg.AckWait/3),
	}
	if cfg.MaxRequestExpires > 0 {
		c.lifetime = min(c.lifetime, cfg.MaxRequestExpires)
	}
	return c, nil
}

func (s *shared) consumerConfig() jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable: s.cfg.Durable, FilterSubject: s.cfg.Subject, AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.cfg.AckWait,
		MaxDeliver: -1, MaxAckPending: -1, DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	switch {
	case s.cfg.FromSeq > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.cfg.FromSeq
	case !s.cfg.Since.IsZero():
		since := s.cfg.Since.UTC()
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	return c
}

// fits returns what of a consumer has to be changed.
func (s *shared) fits(c *jetstream.ConsumerConfig) error {
	filters := c.FilterSubjects
	if c.FilterSubject != "" {
		filters = []string{c.FilterSubject}
	}
	switch {
	case c.DeliverSubject != "":
		return errors.New("pushes its messages: name one that is pulled from")
	case c.AckPolicy != jetstream.AckExplicitPolicy:
		return fmt.Errorf("has AckPolicy %v: each message has to be acknowledged by itself, explicit", c.AckPolicy)
	case c.HeadersOnly:
		return errors.New("has HeadersOnly, so that messages come without their data: turn it off, or name another Durable")
	case len(c.BackOff) > 0:
		return fmt.Errorf("has BackOff %v, which the broker adds to the delay of a message that failed: remove it, and set Backoff here", c.BackOff)
	case c.AckWait < minAckWait:
		return fmt.Errorf("has AckWait %v: make it %v at least, or messages come again while they are handled", c.AckWait, minAckWait)
	case c.MaxAckPending > 0 && c.MaxAckPending < s.cfg.InFlight:
		return fmt.Errorf("has MaxAckPending %d, and InFlight is %d: raise the one or lower the other", c.MaxAckPending, s.cfg.InFlight)
	case c.MaxDeliver > 0 && c.MaxDeliver <= s.cfg.Attempts:
		return fmt.Errorf("has MaxDeliver %d, after which the broker forgets a message without telling: make it -1, or more than Attempts, which is %d", c.MaxDeliver, s.cfg.Attempts)
	case s.cfg.Subject != "" && !slices.Equal(filters, []string{s.cfg.Subject}):
		return fmt.Errorf("has the filter %q, and Subject is %q: leave Subject empty, or name another Durable", filters, s.cfg.Subject)
	case len(c.PriorityGroups) > 0 && !slices.Contains(c.PriorityGroups, s.cfg.Group):
		return fmt.Errorf("has the priority groups %q, and Group is %q: name one of them", c.PriorityGroups, s.cfg.Group)
	case len(c.PriorityGroups) == 0 && s.cfg.Group != "":
		return fmt.Errorf("has no priority groups: leave Group empty, which is %q", s.cfg.Group)
	}
	return nil
}

// leaseOf is how long a message may be handled after the request was sent that it came with: less than
// AckWait, since a broker that restarts knows what it has handed out only to the second.
func leaseOf(ackWait time.Duration) time.Duration {
	return ackWait - max(ackWait/10, min(time.Second+100*time.Millisecond, ackWait/3))
}
