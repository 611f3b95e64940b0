package stages_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/millhand/millhand/internal/stages"
)

// chunk is the number of events of one benchmark operation.
const chunk = 100_000

func BenchmarkConsumer(b *testing.B) {
	for _, maxDemand := range []int{1000, 100, 10, 1} {
		b.Run(fmt.Sprintf("max=%d", maxDemand), func(b *testing.B) {
			benchmark(b, maxDemand, 0, 1)
		})
	}
}

func BenchmarkProcessor(b *testing.B) {
	for _, maxDemand := range []int{1000, 1} {
		b.Run(fmt.Sprintf("max=%d", maxDemand), func(b *testing.B) {
			benchmark(b, maxDemand, 1, 1)
		})
	}
}

func BenchmarkFourConsumers(b *testing.B) {
	benchmark(b, 1000, 0, 4)
}

// benchmark measures a producer of ints, no-op processors in a row, and no-op consumers.
func benchmark(b *testing.B, maxDemand, processors, consumers int) {
	b.Helper()
	b.ReportAllocs()
	chunks, stop := pipeline(b.Context(), chunk, maxDemand, processors, consumers)
	defer stop()
	for b.Loop() {
		<-chunks
	}
	b.ReportMetric(float64(b.N)*chunk/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

// In steady state, no event costs an allocation, however few are asked for at once.
func TestEventsAreNotAllocated(t *testing.T) {
	const chunk = 20_000 // enough to tell an allocation for each event from those of the runtime
	for _, maxDemand := range []int{1000, 10, 1} {
		for _, consumers := range []int{1, 4} {
			chunks, stop := pipeline(t.Context(), chunk, maxDemand, 1, consumers)
			<-chunks // buffers have grown to what is needed
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			<-chunks
			runtime.ReadMemStats(&after)
			stop()
			if n := after.Mallocs - before.Mallocs; n > chunk/100 {
				t.Errorf("%d allocations for %d events of %d consumers at max demand %d", n, chunk, consumers, maxDemand)
			}
		}
	}
}

// pipeline runs a producer of ints, no-op processors in a row, and no-op consumers, which send for
// each chunk of events.
func pipeline(ctx context.Context, chunk, maxDemand, processors, consumers int) (chunks <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	var source stages.Source[int]
	producer := must(stages.NewProducer(stages.ProducerConfig[int]{Demand: counter()}))
	source = producer
	runs := []func(context.Context) error{producer.Run}
	options := stages.SubscribeOptions[int]{MaxDemand: maxDemand, Cancel: stages.Temporary}
	for range processors {
		p := must(stages.NewProcessor(stages.ProcessorConfig[int, int]{
			Handle: func(_ context.Context, batch, out []int) ([]int, error) { return append(out, batch...), nil },
		}))
		must(p.Subscribe(source, options))
		runs = append(runs, p.Run)
		source = p
	}
	done := make(chan struct{})
	var handled atomic.Int64
	for range consumers {
		c := must(stages.NewConsumer(stages.ConsumerConfig[int]{Handle: func(_ context.Context, batch []int) error {
			n := handled.Add(int64(len(batch)))
			if n/int64(chunk) != (n-int64(len(batch)))/int64(chunk) {
				select {
				case done <- struct{}{}:
				case <-ctx.Done():
				}
			}
			return nil
		}}))
		must(c.Subscribe(source, options))
		runs = append(runs, c.Run)
	}
	for _, run := range runs {
		all.Go(func() { _ = run(ctx) })
	}
	return done, func() {
		cancel()
		all.Wait()
	}
}

// counter is a Demand that makes as many ints as it is asked for.
func counter() func(context.Context, int, []int) ([]int, error) {
	next := 0
	return func(_ context.Context, n int, out []int) ([]int, error) {
		for range n {
			out = append(out, next)
			next++
		}
		return out, nil
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
