package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// handedOut returns how many messages of S the broker has sent to those who read it now.
func (s *scene) handedOut() (n int) {
	s.t.Helper()
	list := s.s.ListConsumers(s.t.Context())
	for c := range list.Info() {
		n += int(c.Delivered.Consumer) //nolint:gosec // few
	}
	if err := list.Err(); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// A process has no more messages than its pipeline may have in hand, of all its partitions together, and no more bytes
// than it may.
func TestOrderedTakesNoMoreThanThereIsRoomFor(t *testing.T) {
	for name, c := range map[string]struct{ inFlight, maxBytes, size, most int }{
		"messages": {inFlight: 20, size: 10, most: 20},
		"one":      {inFlight: 1, size: 10, most: partitions},
		"bytes":    {inFlight: 1000, maxBytes: 1 << 20, size: 100 << 10, most: 10 + partitions},
		"large":    {inFlight: 1000, maxBytes: 50 << 10, size: 100 << 10, most: partitions},
	} {
		t.Run(name, func(t *testing.T) {
			inGroup(t, func(t *testing.T, s *scene) {
				const keys, each = 20, 6
				for n := range each {
					for k := range keys {
						body := fmt.Appendf(nil, `{"Key":"k%d","N":%d}%s`, k, n+1, bytes.Repeat([]byte(" "), c.size))
						if _, err := s.js.Publish(t.Context(), fmt.Sprintf("s.k%d", k), body); err != nil {
							t.Fatal(err)
						}
					}
				}
				var out sink
				open := make(chan struct{})
				startOrdered(t, pipeline.Config[event]{
					Source: s.ordered(nil, func(o *stream.OrderedConfig) { o.MaxBytes = c.maxBytes }), InFlight: c.inFlight,
					Process: func(ctx context.Context, m *pipeline.Message[event]) error {
						select {
						case <-open:
						case <-ctx.Done():
						}
						return out.process(ctx, m)
					},
				})
				time.Sleep(time.Minute)
				if n := s.handedOut(); n < c.most/2 || n > c.most {
					t.Errorf("the broker has handed out %d messages, want %d at most", n, c.most)
				}
				close(open)
				time.Sleep(time.Minute)
				want := map[string]int{}
				for k := range keys {
					want[fmt.Sprintf("k%d", k)] = each
				}
				if repeated := out.check(t, want); repeated > 0 {
					t.Errorf("%d were handled twice", repeated)
				}
			})
		})
	}
}

// What is in open batches is handled when there is no room for more beside it, however large a batch may be.
func TestOrderedIsHungry(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		s.tell(map[string]int{}, 20, 10)
		var handled atomic.Int64
		all := pipeline.NewBatcher(pipeline.BatcherConfig[event]{Size: 1000, Wait: 24 * time.Hour, Handle: func(_ context.Context, b *pipeline.Batch[event]) error {
			handled.Add(int64(len(b.Items)))
			return nil
		}})
		startOrdered(t, pipeline.Config[event]{
			Source:   s.ordered(nil, func(o *stream.OrderedConfig) { o.MaxBytes = 2000 }),
			Batchers: []pipeline.AnyBatcher{all}, InFlight: 1000,
			Process: func(_ context.Context, m *pipeline.Message[event]) error { all.Add(m, m.Value); return nil },
		})
		time.Sleep(time.Minute)
		if n := handled.Load(); n < 150 {
			t.Errorf("%d of 200 are handled", n)
		}
	})
}

// A process that takes many partitions of a broker that is far away loses none of them meanwhile.
func TestOrderedFarAway(t *testing.T) {
	const n, away = 64, 160 * time.Millisecond // as long as 256 of a broker at 40 ms, which costs more
	inGroupOf(t, n, func(t *testing.T, s *scene) {
		link := s.server.Link()
		link.Far(away)
		many := func(c *stream.OrderedConfig) { c.Partitions = n }
		o := s.ordered(link, many)
		p := startOrdered(t, pipeline.Config[event]{Source: o, Process: func(context.Context, *pipeline.Message[event]) error { return nil }})
		time.Sleep(30 * time.Second)
		if lag := o.Lag(); len(lag) != n {
			t.Errorf("%d of %d partitions are its own", len(lag), n)
		}
		for part, c := range s.cursors(n) {
			if c.Epoch != 1 {
				t.Errorf("partition %d had %d owners", part, c.Epoch)
			}
		}
		next := startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil, many), Process: func(context.Context, *pipeline.Message[event]) error { return nil }})
		drainOrdered(t, p)
		time.Sleep(5 * time.Second) // less than a lease
		if have := len(s.owners()); have != n {
			t.Errorf("5 s after it has ended %d of its %d partitions have another owner", have, n)
		}
		drainOrdered(t, next)
	})
}
