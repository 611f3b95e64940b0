package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

func (s *scene) source(c stream.SourceConfig) *stream.Source[int] {
	s.t.Helper()
	c.Stream, c.Durable, c.Logger = "S", "d", natstest.Logger(natstest.Output(s.t))
	if c.Dead == nil {
		c.Dead = func(context.Context, *stream.Dead) error { s.t.Error("a message is dead"); return nil }
	}
	source, err := stream.NewSource(s.nc, c, stream.JSON[int])
	if err != nil {
		s.t.Fatal(err)
	}
	return source
}

// consumer returns what the broker knows of the durable.
func (s *scene) consumer() *jetstream.ConsumerInfo {
	s.t.Helper()
	c, err := s.s.Consumer(s.t.Context(), "d")
	if err != nil {
		s.t.Fatal(err)
	}
	return c.CachedInfo()
}

// settled fails the test unless everything up to seq is acknowledged.
func (s *scene) settled(seq uint64) {
	s.t.Helper()
	if c := s.consumer(); c.AckFloor.Stream != seq || c.NumAckPending != 0 || c.NumPending != 0 {
		s.t.Errorf("acknowledged up to %d of %d, %d in hand, %d wait", c.AckFloor.Stream, seq, c.NumAckPending, c.NumPending)
	}
}

// seen is a list that several goroutines write.
type seen[T any] struct {
	mu  sync.Mutex
	all []T
}

func (s *seen[T]) add(v T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, v)
}

func (s *seen[T]) list() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

func TestSource(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 600)
		var got seen[int]
		sum := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Size: 50, Handle: func(_ context.Context, b *pipeline.Batch[int]) error {
			for i, v := range b.Items {
				if b.ID(i) != fmt.Sprintf("S/%d/default/0", v) {
					t.Errorf("%d is %s", v, b.ID(i))
				}
				got.add(v)
			}
			return nil
		}})
		config := pipeline.Config[int]{
			Source: s.source(stream.SourceConfig{}), Batchers: []pipeline.AnyBatcher{sum}, InFlight: 400,
			Process: func(_ context.Context, m *pipeline.Message[int]) error { sum.Add(m, m.Value); return nil },
		}
		p := start(t, config)
		time.Sleep(time.Minute)
		s.publish(601, 600)
		time.Sleep(time.Minute)
		s.settled(1200)
		p.drain(t, time.Second)
		s.publish(1201, 100)
		again := start(t, config) // the same source, once more
		time.Sleep(5 * time.Second)
		again.drain(t, time.Second)
		s.settled(1300)
		all := got.list()
		slices.Sort(all)
		if !slices.Equal(all, numbers(1, 1300, func(int) bool { return true })) {
			t.Errorf("%d values", len(all))
		}
	})
}

type permanentError struct{ error }

func (permanentError) Permanent() bool { return true }

type laterError struct{ error }

func (laterError) RetryAfter() time.Duration { return 10 * time.Minute }

// What fails comes again when it is to, and is dead after its last attempt.
func TestSourceFailures(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 5)
		if _, err := s.js.Publish(t.Context(), "s.foreign", []byte("hello")); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		var calls seen[string]
		var dead seen[stream.Dead]
		down := 3
		start(t, pipeline.Config[int]{
			Source: s.source(stream.SourceConfig{
				Attempts: 3, Backoff: func(attempt int) time.Duration { return time.Duration(attempt) * time.Minute },
				Dead: func(_ context.Context, d *stream.Dead) error {
					if d.Seq == 1 && down > 0 {
						if down--; down == 1 {
							panic("the place for the dead is down")
						}
						return errors.New("down")
					}
					dead.add(*d)
					return nil
				},
			}),
			Failed: func(_ context.Context, failed []*pipeline.Message[int]) {
				for _, m := range failed {
					m.Meta = map[string]string{"said": "so"}
				}
			},
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				calls.add(fmt.Sprintf("%d/%d at %v", m.Value, m.Attempt, time.Since(begin).Round(time.Second)))
				switch {
				case m.Value == 1:
					return errors.New("no")
				case m.Value == 2 && m.Attempt == 1:
					return errors.New("not yet")
				case m.Value == 3:
					return permanentError{errors.New("never")}
				case m.Value == 4 && m.Attempt == 1:
					return laterError{errors.New("later")}
				}
				return nil
			},
		})
		time.Sleep(time.Hour)
		all := calls.list()
		slices.Sort(all)
		want := []string{"1/1 at 0s", "1/2 at 1m0s", "1/3 at 3m0s", "2/1 at 0s", "2/2 at 1m0s", "3/1 at 0s", "4/1 at 0s", "4/2 at 10m0s", "5/1 at 0s"}
		if !slices.Equal(all, want) {
			t.Errorf("calls %q", all)
		}
		buried := dead.list()
		slices.SortFunc(buried, func(a, b stream.Dead) int { return int(a.Seq) - int(b.Seq) })
		if len(buried) != 3 {
			t.Fatalf("%d are dead", len(buried))
		}
		for i, want := range []stream.Dead{
			{Message: stream.Message{Seq: 1, Subject: "s.odd", Data: []byte("1")}, Reason: stream.Exhausted, Attempt: 3},
			{Message: stream.Message{Seq: 3, Subject: "s.odd", Data: []byte("3")}, Reason: stream.Permanent, Attempt: 1},
			{Message: stream.Message{Seq: 6, Subject: "s.foreign", Data: []byte("hello")}, Reason: stream.Malformed, Attempt: 1},
		} {
			d := buried[i]
			if d.ID() != fmt.Sprintf("S/%d", want.Seq) || d.Subject != want.Subject || string(d.Data) != string(want.Data) ||
				d.Reason != want.Reason || d.Attempt != want.Attempt || d.Err == nil || d.Meta["said"] != "so" {
				t.Errorf("%+v, want %+v", d, want)
			}
		}
		s.settled(6)
	})
}

// A message that is in hand for long is renewed; one whose renewals are not confirmed is lost, and is
// handled again by whoever has it then.
func TestSourceLeases(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 1)
		var calls seen[int]
		var lost seen[error]
		p := start(t, pipeline.Config[int]{
			Source: s.source(stream.SourceConfig{}),
			Process: func(ctx context.Context, m *pipeline.Message[int]) error {
				calls.add(m.Attempt)
				if m.Attempt > 1 {
					return nil
				}
				<-ctx.Done()
				lost.add(context.Cause(ctx))
				return context.Cause(ctx)
			},
		})
		time.Sleep(10 * time.Minute)
		if got := calls.list(); len(got) != 1 {
			t.Errorf("deliveries %v", got)
		}
		s.link.Hold()
		time.Sleep(time.Minute)
		if causes := lost.list(); len(causes) != 1 || !errors.Is(causes[0], stream.ErrLeaseLost) {
			t.Errorf("the contexts of what was lost ended with %v", causes)
		}
		s.link.Release()
		time.Sleep(time.Minute)
		if got := calls.list(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("deliveries %v", got)
		}
		s.settled(1)
		if got := p.Stats(); got.Handled != 1 || got.HandedBack != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// A process that dies costs AckWait. What only crashes is dead in the end.
func TestSourceCrashes(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 1)
		hang := pipeline.Config[int]{Process: func(ctx context.Context, _ *pipeline.Message[int]) error { <-ctx.Done(); return ctx.Err() }}
		for range 3 {
			link := s.server.Link()
			s.nc = link.Connect(t)
			hang.Source = s.source(stream.SourceConfig{Attempts: 3})
			start(t, hang)
			time.Sleep(time.Minute)
			link.Crash()
		}
		s.nc = s.server.Connect(t)
		var dead seen[stream.Dead]
		hang.Source = s.source(stream.SourceConfig{Attempts: 3, Dead: func(_ context.Context, d *stream.Dead) error { dead.add(*d); return nil }})
		start(t, hang)
		time.Sleep(time.Minute)
		if d := dead.list(); len(d) != 1 || d[0].Reason != stream.Crashed || !errors.Is(d[0].Err, stream.ErrCrashed) || d[0].Attempt != 4 {
			t.Errorf("dead %+v", d)
		}
		s.settled(1)
	})
}

// A drain gives back what was not begun, at once, and those beside go on with it.
func TestSourceDrains(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 20)
		stuck := start(t, pipeline.Config[int]{
			Source: s.source(stream.SourceConfig{}), InFlight: 20, Concurrency: 1, DrainTimeout: 10 * time.Second,
			Process: func(ctx context.Context, _ *pipeline.Message[int]) error { <-ctx.Done(); return ctx.Err() },
		})
		time.Sleep(time.Second)
		stuck.cancel()
		var got seen[int]
		start(t, pipeline.Config[int]{
			Source:  s.source(stream.SourceConfig{}),
			Process: func(_ context.Context, m *pipeline.Message[int]) error { got.add(m.Value); return nil },
		})
		time.Sleep(12 * time.Second)
		if all := got.list(); len(all) != 20 {
			t.Errorf("%d handled", len(all))
		}
		s.settled(20)
	})
}

// A dead letter that cannot be written keeps its message, also over a drain.
func TestSourceWithoutAPlaceForTheDead(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 1)
		p := start(t, pipeline.Config[int]{
			Source:  s.source(stream.SourceConfig{Dead: func(context.Context, *stream.Dead) error { return errors.New("down") }}),
			Process: func(context.Context, *pipeline.Message[int]) error { return permanentError{errors.New("never")} },
		})
		time.Sleep(time.Hour)
		if c := s.consumer(); c.NumAckPending != 1 || c.NumRedelivered != 0 {
			t.Errorf("%d in hand, %d redelivered", c.NumAckPending, c.NumRedelivered)
		}
		p.drain(t, 15*time.Second)
		if c := s.consumer(); c.AckFloor.Stream != 0 {
			t.Error("it is acknowledged, and nobody has it")
		}
	})
}

// Nothing is lost, and nothing left in hand, when the broker or the line goes away at any moment.
func TestSourceOverABadLine(t *testing.T) {
	for i := range 12 {
		fate, nth := []natstest.Fate{natstest.CutBefore, natstest.CutAfter, natstest.Lost}[i%3], 1+7*(i/3)
		inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
			s.publish(1, 100)
			sent := 0
			s.link.Watch(func(string) natstest.Fate {
				if sent++; sent%nth == 0 && sent < 100 {
					return fate
				}
				return natstest.Pass
			})
			handled := map[int]bool{}
			var mu sync.Mutex
			start(t, pipeline.Config[int]{
				Source: s.source(stream.SourceConfig{}), InFlight: 10,
				Process: func(_ context.Context, m *pipeline.Message[int]) error {
					mu.Lock()
					defer mu.Unlock()
					handled[m.Value] = true
					return nil
				},
			})
			time.Sleep(time.Minute)
			s.server.Kill(t)
			s.server.Start(t)
			time.Sleep(10 * time.Minute)
			s.settled(100)
			mu.Lock()
			defer mu.Unlock()
			if len(handled) != 100 {
				t.Errorf("fate %d of every %dth message: %d handled", fate, nth, len(handled))
			}
		})
	}
}

// A consumer that does not fit is refused, and what to change is named.
func TestSourceRefusesConsumers(t *testing.T) {
	durable := func(change func(*jetstream.ConsumerConfig)) jetstream.ConsumerConfig {
		c := jetstream.ConsumerConfig{Durable: "d", AckPolicy: jetstream.AckExplicitPolicy}
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		consumer jetstream.ConsumerConfig
		config   stream.SourceConfig
	}{
		"BackOff":       {consumer: durable(func(c *jetstream.ConsumerConfig) { c.BackOff = []time.Duration{time.Minute}; c.MaxDeliver = 20 })},
		"MaxAckPending": {durable(func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 99 }), stream.SourceConfig{InFlight: 100}},
		"AckWait":       {consumer: durable(func(c *jetstream.ConsumerConfig) { c.AckWait = time.Second })},
		"AckPolicy":     {consumer: durable(func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckAllPolicy })},
		"MaxDeliver":    {consumer: durable(func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 10 })},
		"HeadersOnly":   {consumer: durable(func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true })},
		"filter":        {durable(func(c *jetstream.ConsumerConfig) { c.FilterSubject = "s.odd" }), stream.SourceConfig{Subject: "s.even"}},
		"priority group": {consumer: durable(func(c *jetstream.ConsumerConfig) {
			c.PriorityGroups = []string{"g"}
			c.PriorityPolicy = jetstream.PriorityPolicyOverflow
		})},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
				if _, err := s.s.CreateConsumer(t.Context(), c.consumer); err != nil {
					t.Fatal(err)
				}
				p := start(t, pipeline.Config[int]{Source: s.source(c.config), Process: func(context.Context, *pipeline.Message[int]) error { return nil }})
				err := p.wait(t)
				if !errors.Is(err, stream.ErrInvalid) || !strings.Contains(err.Error(), name) {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		good := stream.SourceConfig{Stream: "S", Durable: "d", Dead: stream.Drop, Logger: slog.New(slog.DiscardHandler)}
		for name, change := range map[string]func(*stream.SourceConfig){
			"no Dead": func(c *stream.SourceConfig) { c.Dead = nil }, "no Stream": func(c *stream.SourceConfig) { c.Stream = "" },
			"two beginnings":  func(c *stream.SourceConfig) { c.FromSeq, c.Since = 1, time.Now() },
			"a short AckWait": func(c *stream.SourceConfig) { c.AckWait = time.Second }, "a domain": func(c *stream.SourceConfig) { c.Domain = "a b" },
		} {
			bad := good
			change(&bad)
			if _, err := stream.NewSource(s.nc, bad, stream.JSON[int]); !errors.Is(err, stream.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := stream.NewSource(s.nc, good, stream.JSON[int]); err != nil {
			t.Error(err)
		}
	})
}

// Streams of work, and consumers with priority groups, are taken as they are.
func TestSourceOfForeignConsumers(t *testing.T) {
	for name, c := range map[string]struct {
		stream   jetstream.StreamConfig
		consumer jetstream.ConsumerConfig
		config   stream.SourceConfig
	}{
		"work queue": {stream: jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}},
		"interest":   {stream: jetstream.StreamConfig{Retention: jetstream.InterestPolicy}, consumer: jetstream.ConsumerConfig{AckWait: time.Minute, MaxAckPending: 7, MaxRequestBatch: 3}},
		"overflow": {
			consumer: jetstream.ConsumerConfig{PriorityGroups: []string{"g"}, PriorityPolicy: jetstream.PriorityPolicyOverflow},
			config:   stream.SourceConfig{Group: "g"},
		},
		"pinned": {
			consumer: jetstream.ConsumerConfig{PriorityGroups: []string{"g"}, PriorityPolicy: jetstream.PriorityPolicyPinned, PinnedTTL: time.Minute},
			config:   stream.SourceConfig{Group: "g"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, c.stream, func(t *testing.T, s *scene) {
				c.consumer.Durable, c.consumer.AckPolicy = "d", jetstream.AckExplicitPolicy
				if _, err := s.s.CreateConsumer(t.Context(), c.consumer); err != nil {
					t.Fatal(err)
				}
				s.publish(1, 100)
				var got seen[int]
				config := pipeline.Config[int]{Process: func(_ context.Context, m *pipeline.Message[int]) error { got.add(m.Value); return nil }}
				for range 2 {
					config.Source = s.source(c.config)
					start(t, config)
				}
				time.Sleep(time.Minute)
				if n := len(got.list()); n != 100 {
					t.Errorf("%d handled", n)
				}
				s.settled(100)
			})
		})
	}
}
