package stream_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

func (s *seen[T]) process(_ context.Context, m *pipeline.Message[T]) error {
	s.add(m.Value)
	return nil
}

// What comes while a pipeline drains costs one delivery, although a request still waits at the broker.
func TestSourceHandsBackWhatComesLate(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 1)
		var got seen[int]
		config := pipeline.Config[int]{Source: s.source(stream.SourceConfig{}), InFlight: 400, Process: got.process}
		p := start(t, config)
		time.Sleep(10*time.Second + 100*time.Millisecond)
		p.cancel()
		time.Sleep(time.Millisecond)
		s.publish(2, 1)
		time.Sleep(5 * time.Second)
		if n := s.consumer().Delivered.Consumer; n > 2 {
			t.Errorf("%d deliveries of two messages", n)
		}
		start(t, config)
		time.Sleep(time.Minute)
		if !slices.Equal(got.list(), []int{1, 2}) {
			t.Errorf("processed %v", got.list())
		}
	})
}

// A pipeline that stops at a failure hands back each message once.
func TestSourceHandsBackOnceWhenItStops(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 5)
		p, err := pipeline.New(pipeline.Config[int]{
			Source: s.source(stream.SourceConfig{}), InFlight: 400, OnFailure: pipeline.Failure{Stop: true},
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				if m.Value == 3 {
					return errors.New("stop")
				}
				time.Sleep(10 * time.Millisecond)
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(t.Context()); err == nil {
			t.Error("it did not stop")
		}
		if n := s.consumer().Delivered.Consumer; n != 5 {
			t.Errorf("%d deliveries of five messages", n)
		}
	})
}

// What comes just after a pause is for the others.
func TestSourceIsPaused(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 1)
		var paused, other seen[int]
		p := start(t, pipeline.Config[int]{Source: s.source(stream.SourceConfig{}), InFlight: 400, Process: paused.process})
		time.Sleep(10*time.Second + 100*time.Millisecond)
		p.Pause()
		time.Sleep(time.Millisecond)
		s.publish(2, 5)
		time.Sleep(time.Second)
		start(t, pipeline.Config[int]{Source: s.source(stream.SourceConfig{}), InFlight: 400, Process: other.process})
		time.Sleep(time.Minute)
		if len(paused.list()) != 1 || len(other.list()) != 5 {
			t.Errorf("the paused one processed %v, the other one %v", paused.list(), other.list())
		}
		p.Resume()
		time.Sleep(time.Second)
		s.publish(7, 5)
		time.Sleep(time.Minute)
		if n := len(paused.list()) + len(other.list()); n != 11 {
			t.Errorf("%d processed of 11", n)
		}
		s.settled(11)
	})
}

// After a Run that was refused the same pipeline runs.
func TestSourceRunsAgain(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 5)
		if _, err := s.s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "d", AckPolicy: jetstream.AckNonePolicy}); err != nil {
			t.Fatal(err)
		}
		var got seen[int]
		p, err := pipeline.New(pipeline.Config[int]{Source: s.source(stream.SourceConfig{}), InFlight: 400, Process: got.process})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(t.Context()); !errors.Is(err, stream.ErrInvalid) {
			t.Errorf("a consumer without acks: %v", err)
		}
		if err := s.s.DeleteConsumer(t.Context(), "d"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Run(ctx); err != nil || len(got.list()) != 5 {
			t.Errorf("the second run: %v, processed %v", err, got.list())
		}
	})
}
