package stream_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// exits is a decoder and a Dead that end their goroutines: of message 7, and the first two times.
type exits struct {
	dead  seen[string]
	calls int
}

func (*exits) decode(m stream.Message) (int, error) {
	if string(m.Data) == "7" {
		runtime.Goexit()
	}
	return stream.JSON[int](m)
}

func (e *exits) bury(_ context.Context, d *stream.Dead) error {
	if e.calls++; e.calls < 3 {
		runtime.Goexit()
	}
	e.dead.add(d.ID() + " " + string(d.Reason))
	return nil
}

func (e *exits) check(t *testing.T, handled []int) {
	t.Helper()
	slices.Sort(handled)
	if want := []int{1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}; !slices.Equal(handled, want) {
		t.Errorf("handled %v", handled)
	}
	if dead := e.dead.list(); !slices.Equal(dead, []string{"S/7 malformed"}) {
		t.Errorf("dead %q", dead)
	}
}

// Functions of a source that end their goroutine fail what they were called with, and nothing else.
func TestFunctionsOfASourceEndTheirGoroutine(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 20)
		var e exits
		source, err := stream.NewSource(s.nc, stream.SourceConfig{
			Stream: "S", Durable: "d", Dead: e.bury, Logger: natstest.Logger(natstest.Output(t)),
			Backoff: func(int) time.Duration { runtime.Goexit(); return 0 },
		}, e.decode)
		if err != nil {
			t.Fatal(err)
		}
		var handled seen[int]
		p := start(t, pipeline.Config[int]{Source: source, Process: func(_ context.Context, m *pipeline.Message[int]) error {
			if m.Value == 5 && m.Attempt == 1 {
				return errors.New("not yet")
			}
			handled.add(m.Value)
			return nil
		}})
		time.Sleep(5 * time.Minute)
		e.check(t, handled.list())
		s.settled(20)
		p.drain(t, time.Minute)
	})
}

func TestFunctionsOfAnOrderedSourceEndTheirGoroutine(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 20)
		var e exits
		config := stream.OrderedConfig{Stream: "S", Group: "g", Dead: e.bury, Logger: natstest.Logger(natstest.Output(t))}
		source, err := stream.NewOrdered(s.nc, config, e.decode)
		if err != nil {
			t.Fatal(err)
		}
		var handled seen[int]
		p := start(t, pipeline.Config[int]{Source: source, Process: func(_ context.Context, m *pipeline.Message[int]) error {
			handled.add(m.Value)
			return nil
		}})
		time.Sleep(5 * time.Minute)
		e.check(t, handled.list())
		if c := s.cursors(1)[0]; c.Seq != 20 {
			t.Errorf("the cursor is at %d", c.Seq)
		}
		p.drain(t, time.Minute)

		config.Group, config.Partitions = "h", 2
		config.PartitionBy = func(stream.Message) string { runtime.Goexit(); return "" }
		if source, err = stream.NewOrdered(s.nc, config, stream.JSON[int]); err != nil {
			t.Fatal(err)
		}
		p = start(t, pipeline.Config[int]{Source: source, Process: func(context.Context, *pipeline.Message[int]) error { return nil }})
		if err := p.wait(t); !errors.Is(err, pipeline.ErrExited) {
			t.Errorf("with such a PartitionBy Run returned %v", err)
		}
	})
}
