package queue

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
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

// How long the broker keeps the consumer of a feed that could not remove it, how often a silent
// feed checks that it still follows the stream that it began with, and how long it tries to remove
// its consumer.
const (
	feedIdle       = 30 * time.Second
	feedCheckEvery = 5 * time.Second
	feedHeartbeat  = 2 * time.Second // twice that, which is less than a check, and nothing has come: its request was lost
	feedRemove     = 2 * time.Second
)

// errEventsForgotten ends a feed that would be silent until the new stream's sequences have caught
// up with those of the lost one.
var errEventsForgotten = errors.New("the stream of events was lost and made again with lower sequences than those already read: start the feed again")

func (s *Store) feed(ctx context.Context, since time.Time, yield func(JobEvent) bool) error {
	last, err := retryTransient(ctx, func(ctx context.Context) (uint64, error) {
		if err := s.ensureCommon(ctx); err != nil {
			return 0, err
		}
		return s.lastOfEvents(ctx)
	})
	if err != nil {
		return err
	}
	c, err := s.follow(ctx, feedConfig(last, since))
	if err != nil {
		return wrap(err, "follow events")
	}
	defer s.unfollow(context.WithoutCancel(ctx), c)
	msgs, err := c.Messages(jetstream.PullHeartbeat(feedHeartbeat))
	if err != nil {
		return wrap(err, "follow events")
	}
	defer context.AfterFunc(ctx, msgs.Stop)()
	defer msgs.Stop()
	for name := c.CachedInfo().Name; ; {
		m, err := msgs.Next(jetstream.NextMaxWait(feedCheckEvery))
		switch {
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return nil
		case errors.Is(err, nats.ErrTimeout):
			if now := c.CachedInfo().Name; now != name { // it was made again
				if err := s.checkEvents(ctx, last); err != nil {
					return err
				}
				name = now
			}
			continue
		case err != nil:
			return wrap(err, "follow events")
		}
		if md, err := m.Metadata(); err == nil {
			last = md.Sequence.Stream
		}
		if e, ok := s.jobEvent(m); ok && !yield(e) {
			return nil
		}
	}
}

// feedConfig begins at a time or, if that is zero, behind the last event there is: by its place in
// the stream and not as "new", since a consumer that has to be made again before anything has come
// would skip what was stored meanwhile.
func feedConfig(last uint64, since time.Time) jetstream.OrderedConsumerConfig {
	cfg := jetstream.OrderedConsumerConfig{InactiveThreshold: feedIdle}
	if since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, last+1
	} else {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	return cfg
}

func (s *Store) lastOfEvents(ctx context.Context) (uint64, error) {
	info, err := s.client.Info(ctx, s.names.eventStream())
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// checkEvents returns an error if the events stream has not even come as far as last.
func (s *Store) checkEvents(ctx context.Context, last uint64) error {
	now, err := retryTransient(ctx, s.lastOfEvents)
	if err == nil && now < last {
		return errEventsForgotten
	}
	return err
}

// unfollow removes the consumer of a feed that has ended, since a stream has a limit of them.
func (s *Store) unfollow(ctx context.Context, c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(ctx, feedRemove)
	defer cancel()
	_ = s.js.DeleteConsumer(ctx, s.names.eventStream(), c.CachedInfo().Name) // or the server does, in a while
}

// follow makes the consumer of a feed.
func (s *Store) follow(ctx context.Context, cfg jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	return retryTransient(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return s.client.OrderedConsumer(ctx, s.names.eventStream(), cfg)
	})
}

// retryTransient asks until there is an answer. A cluster that has just lost a node drops requests
// until it has elected its leader, and may place a consumer on the node that is gone and
// never answer: the next one is placed elsewhere.
func retryTransient[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	for {
		try, cancel := context.WithTimeout(ctx, stream.SetupTimeout)
		v, err := ask(try)
		cancel()
		if err == nil || !Passing(err) || ctx.Err() != nil {
			return v, err
		}
		if err := stream.Sleep(ctx, stream.RetryPause); err != nil {
			var none T
			return none, err
		}
	}
}

func (s *Store) jobEvent(m jetstream.Msg) (JobEvent, bool) {
	r, ok := s.names.parseEventSubject(m.Subject())
	md, err := m.Metadata()
	if !ok || err != nil {
		return JobEvent{}, false
	}
	e := readEvent(&stream.Message{Seq: md.Sequence.Stream, Data: m.Data(), Header: m.Headers()})
	return JobEvent{Queue: r.Queue, Type: r.Type, ID: r.ID, Event: *e}, e.Kind.State() != job.State("")
}
