package stream_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// publishing runs a pipeline that publishes numbers, each as encode says, and returns which of them failed
// and with what.
func (s *scene) publishing(values []int, f pipeline.Failure, encode func(int) (stream.Msg, error)) map[int]error {
	s.t.Helper()
	failed := map[int]error{}
	out := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Name: "out", Handle: stream.Publish(s.nc, encode)})
	p, err := pipeline.New(pipeline.Config[int]{
		Source: pipeline.FromSeq(slices.Values(values)), Batchers: []pipeline.AnyBatcher{out}, Concurrency: 1, OnFailure: f,
		Logger: natstest.Logger(natstest.Output(s.t)),
		Process: func(_ context.Context, m *pipeline.Message[int]) error {
			out.Add(m, m.Value)
			out.Add(m, -m.Value)
			return nil
		},
		Failed: func(_ context.Context, ms []*pipeline.Message[int]) {
			for _, m := range ms {
				failed[m.Value] = m.Err()
			}
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.Run(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return failed
}

func number(i int) (stream.Msg, error) {
	return stream.Msg{Subject: "s.x", Data: []byte(strconv.Itoa(i)), Header: nats.Header{"N": {"n"}}}, nil
}

// What is handled again is stored once, also if the answers to the first time were lost.
func TestPublishTwice(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		sent := 0
		s.link.Watch(func(string) natstest.Fate {
			if sent++; sent == 7 {
				return natstest.CutAfter
			}
			return natstest.Pass
		})
		values := numbers(1, 50, all)
		again := pipeline.Failure{Attempts: 5}
		for range 2 { // a second run has the same ids: they are numbers of the run
			if failed := s.publishing(values, again, number); len(failed) > 0 {
				t.Errorf("failed: %v", failed)
			}
		}
		info, err := s.s.Info(t.Context())
		if err != nil || info.State.Msgs != 100 {
			t.Errorf("%d are stored, %v", info.State.Msgs, err)
		}
		m, err := s.s.GetMsg(t.Context(), 1)
		if err != nil || m.Header.Get("Nats-Msg-Id") != "pipeline/1/out/0" || m.Header.Get("N") != "n" {
			t.Errorf("%+v, %v", m, err)
		}
	})
}

// What cannot be stored fails alone.
func TestPublishFails(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		failed := s.publishing(numbers(1, 6, all), pipeline.Failure{}, func(i int) (stream.Msg, error) {
			m, err := number(i)
			switch i {
			case 2:
				return m, errors.New("cannot be said")
			case 3:
				m.Subject = "s.x y"
			case 4:
				m.Subject, m.Expect = "s.new", new(uint64(0))
			case 5:
				m.Subject, m.Expect = "s.new", new(uint64(77))
			case 6:
				panic("unexpected")
			}
			return m, err
		})
		if len(failed) != 4 || !errors.Is(failed[3], nats.ErrBadSubject) || !errors.Is(failed[5], stream.ErrConflict) {
			t.Errorf("failed: %v", failed)
		}
		if p, ok := errors.AsType[interface {
			error
			Permanent() bool
		}](failed[2]); !ok || !p.Permanent() {
			t.Errorf("what cannot be encoded failed with %v", failed[2])
		}
		if none := s.publishing(numbers(1, 1, all), pipeline.Failure{}, nil); !errors.Is(none[1], stream.ErrInvalid) {
			t.Errorf("without an encoder: %v", none)
		}
	})
}

// A broker that is gone costs the values, each of them, and not for ever.
func TestPublishWithoutABroker(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.link.Hold()
		begin := time.Now()
		failed := s.publishing(numbers(1, 10, all), pipeline.Failure{}, number)
		if took := time.Since(begin); len(failed) != 10 || took > 10*time.Second {
			t.Errorf("%d failed in %v", len(failed), took)
		}
	})
}
