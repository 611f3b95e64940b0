package stages_test

import (
	"context"
	"fmt"
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
	ctx, stop := context.WithCancel(b.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()

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
	chunks := make(chan struct{})
	var handled atomic.Int64
	for range consumers {
		c := must(stages.NewConsumer(stages.ConsumerConfig[int]{Handle: func(_ context.Context, batch []int) error {
			n := handled.Add(int64(len(batch)))
			if n/chunk != (n-int64(len(batch)))/chunk {
				select {
				case chunks <- struct{}{}:
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
	for b.Loop() {
		<-chunks
	}
	b.ReportMetric(float64(b.N)*chunk/b.Elapsed().Seconds()/1e6, "Mevents/s")
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
