package pipeline_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// endless hands out as many numbers as it is asked for, until limit.
type endless struct{ next, limit int }

func (s *endless) Pull(ctx context.Context, n int, out []pipeline.Delivery[int]) ([]pipeline.Delivery[int], error) {
	if s.next >= s.limit {
		<-ctx.Done()
		return out, ctx.Err()
	}
	for range min(n, s.limit-s.next) {
		out = append(out, pipeline.Delivery[int]{Value: s.next})
		s.next++
	}
	return out, nil
}

// BenchmarkPipeline measures two processors that do nothing, with and without a batcher of 100, by what
// one of them asks for.
func BenchmarkPipeline(b *testing.B) {
	for _, demand := range []int{10, 1000, 1} {
		b.Run(fmt.Sprintf("demand=%d", demand), func(b *testing.B) { benchmark(b, demand, 0) })
	}
	for _, demand := range []int{10, 1000} {
		b.Run(fmt.Sprintf("demand=%d/batch=100", demand), func(b *testing.B) { benchmark(b, demand, 100) })
	}
}

func benchmark(b *testing.B, demand, size int) {
	b.Helper()
	b.ReportAllocs()
	c, done := counting(demand, size, b.N)
	p := must(pipeline.New(c))
	ctx, stop := context.WithCancel(b.Context())
	go func() {
		<-done
		stop()
	}()
	if err := p.Run(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mmsg/s")
}

// counting is a pipeline of n messages, and a channel that is closed when all have been processed.
func counting(demand, size, n int) (c pipeline.Config[int], done chan struct{}) {
	done = make(chan struct{})
	c = pipeline.Config[int]{
		Source: &endless{limit: n}, Concurrency: 2, InFlight: 2 * demand,
		Process: func(_ context.Context, m *pipeline.Message[int]) error {
			if m.Value == n-1 {
				close(done)
			}
			return nil
		},
	}
	if size > 0 {
		batcher := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Size: size, Wait: time.Second, Handle: func(context.Context, *pipeline.Batch[int]) error { return nil }})
		process := c.Process
		c.Batchers = []pipeline.AnyBatcher{batcher}
		c.InFlight += 2 * size
		c.Process = func(ctx context.Context, m *pipeline.Message[int]) error {
			batcher.Add(m, m.Value)
			return process(ctx, m)
		}
	}
	return c, done
}

// A message costs two allocations, and what it adds to a batch two more.
func TestAllocations(t *testing.T) {
	const n = 20_000
	for size, most := range map[int]int{0: 2, 100: 4} {
		c, done := counting(1000, size, n)
		p := must(pipeline.New(c))
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			<-done
			stop()
		}()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if got := after.Mallocs - before.Mallocs; got > uint64(most*n) {
			t.Errorf("%d allocations for %d messages in batches of %d, at most %d each", got, n, size, most)
		}
	}
}
