package stream_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// refs are the deliveries of a source by what their messages are called.
type refs[T any] struct {
	pipeline.Source[T]

	mu  sync.Mutex
	all map[string]pipeline.Delivery[T]
}

func (r *refs[T]) Pull(ctx context.Context, n int, out []pipeline.Delivery[T]) ([]pipeline.Delivery[T], error) {
	out, err := r.Source.Pull(ctx, n, out)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range out {
		if named, ok := d.Ref.(interface{ ID() string }); ok {
			r.all[named.ID()] = d
		}
	}
	return out, err
}

// Attach implements [pipeline.Attacher].
func (r *refs[T]) Attach(u pipeline.User) {
	if a, ok := r.Source.(pipeline.Attacher); ok {
		a.Attach(u)
	}
}

// Run implements [pipeline.Runner].
func (r *refs[T]) Run(ctx context.Context) error {
	s, ok := r.Source.(pipeline.Runner)
	if !ok {
		return nil
	}
	return s.Run(ctx)
}

// lose does what a pipeline does if the part crashes that has a message in hand.
func (r *refs[T]) lose(t *testing.T, id string) {
	t.Helper()
	r.mu.Lock()
	d := r.all[id]
	r.mu.Unlock()
	l, ok := d.Acker.(pipeline.Loser)
	if !ok {
		t.Errorf("%T cannot let go of %s", d.Acker, id)
		return
	}
	l.Lose([]any{d.Ref})
}

// A message that is let go ends its context. It is not settled, and comes again when its lease has ended.
func TestLosingAMessage(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		source := &refs[int]{Source: s.source(stream.SourceConfig{AckWait: 10 * time.Second}), all: map[string]pipeline.Delivery[int]{}}
		var handled seen[time.Duration]
		begun := time.Now()
		r := start(t, pipeline.Config[int]{Source: source, Process: func(ctx context.Context, m *pipeline.Message[int]) error {
			handled.add(time.Since(begun))
			if m.Attempt == 1 {
				source.lose(t, m.ID())
				<-ctx.Done()
			}
			return nil
		}})
		s.publish(1, 1)
		time.Sleep(time.Minute)
		if all := handled.list(); len(all) != 2 || all[1]-all[0] < 9*time.Second || all[1]-all[0] > 12*time.Second {
			t.Errorf("handled at %v", all)
		}
		s.settled(1)
		r.drain(t, 10*time.Second)
	})
}

// A partition of which a message is let go is read again from its cursor, in order.
func TestLosingAPlace(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		source := &refs[event]{Source: s.ordered(nil), all: map[string]pipeline.Delivery[event]{}}
		var out sink
		var once sync.Once
		r := startOrdered(t, pipeline.Config[event]{Source: source, Process: func(ctx context.Context, m *pipeline.Message[event]) error {
			if m.Value.N == 5 {
				once.Do(func() {
					source.lose(t, m.ID())
					<-ctx.Done()
				})
			}
			return out.process(ctx, m)
		}})
		s.tell(next, 1, 20)
		time.Sleep(10 * time.Second)
		out.check(t, next)
		r.drain(t, 10*time.Second)
	})
}
