package queue

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

// A JobEvent is an event with the job that it is about.
type JobEvent struct {
	Queue, Type, ID string
	Event
}

// Feed yields the events of all jobs since a time, from now on if that is zero, in order
// and without gaps, until ctx ends or the caller stops. The error is the last thing it
// yields.
func (s *Store) Feed(ctx context.Context, since time.Time) iter.Seq2[JobEvent, error] {
	return func(yield func(JobEvent, error) bool) {
		err := s.feed(ctx, since, func(e JobEvent) bool { return yield(e, nil) })
		if err != nil && ctx.Err() == nil {
			yield(JobEvent{}, err)
		}
	}
}

func (s *Store) feed(ctx context.Context, since time.Time, yield func(JobEvent) bool) error {
	if _, err := patient(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.ensureCommon(ctx) }); err != nil {
		return err
	}
	cfg := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy}
	if !since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	c, err := s.follow(ctx, cfg)
	if err != nil {
		return wrap(err, "follow events")
	}
	msgs, err := c.Messages()
	if err != nil {
		return wrap(err, "follow events")
	}
	defer context.AfterFunc(ctx, msgs.Stop)()
	defer msgs.Stop()
	for {
		m, err := msgs.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return wrap(err, "follow events")
		}
		if e, ok := s.jobEvent(m); ok && !yield(e) {
			return nil
		}
	}
}

// follow makes the consumer of a feed.
func (s *Store) follow(ctx context.Context, cfg jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	return patient(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return s.js.OrderedConsumer(ctx, s.names.eventStream(), cfg)
	})
}

// patient asks until there is an answer. A cluster that has just lost a node drops requests
// until it has elected its leader, and may place a consumer on the node that is gone and
// never answer: the next one is placed elsewhere.
func patient[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	for {
		try, cancel := context.WithTimeout(ctx, setupTimeout)
		v, err := ask(try)
		cancel()
		if err == nil || !Passing(err) || ctx.Err() != nil {
			return v, err
		}
		if err := sleep(ctx, retryPause); err != nil {
			var none T
			return none, err
		}
	}
}

func (s *Store) jobEvent(m jetstream.Msg) (JobEvent, bool) {
	r, ok := s.names.eventPlace(m.Subject())
	md, err := m.Metadata()
	if !ok || err != nil {
		return JobEvent{}, false
	}
	e := readEvent(&stored{Seq: md.Sequence.Stream, Data: m.Data(), Header: m.Headers()})
	return JobEvent{Queue: r.Queue, Type: r.Type, ID: r.ID, Event: *e}, e.Kind.State() != job.State("")
}
