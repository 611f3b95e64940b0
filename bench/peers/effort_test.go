package peers

import (
	"context"
	"sync/atomic"
	"testing"

	gostreams "github.com/reugn/go-streams/flow"
	"github.com/sourcegraph/conc/pool"
	concstream "github.com/sourcegraph/conc/stream"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/flow"
)

const chunk = 500 // events that the loops by hand give to a goroutine at once

// Half a microsecond of work an event in two goroutines, in no order.
func BenchmarkStages(b *testing.B) {
	compare(b, events, effortSum(plus), equal, []contestant[uint64]{
		{"flow", func(ctx context.Context) (sum uint64, _ error) {
			for n, err := range flow.Map(flow.From(upTo(events)).Stages(goroutines), work).All(ctx) {
				if err != nil {
					return 0, err
				}
				sum += n
			}
			return sum, nil
		}},
		{"errgroup", func(ctx context.Context) (uint64, error) {
			var sum atomic.Uint64
			starts := make(chan uint64)
			g, _ := errgroup.WithContext(ctx)
			for range goroutines {
				g.Go(func() error {
					for start := range starts {
						for n := range uint64(chunk) {
							sum.Add(work(start + n))
						}
					}
					return nil
				})
			}
			for start := uint64(0); start < events; start += chunk {
				starts <- start
			}
			close(starts)
			err := g.Wait()
			return sum.Load(), err
		}},
		{"conc", func(context.Context) (uint64, error) {
			var sum atomic.Uint64
			p := pool.New().WithMaxGoroutines(goroutines)
			for n := range upTo(events) {
				p.Go(func() { sum.Add(work(n)) })
			}
			p.Wait()
			return sum.Load(), nil
		}},
		{"go-streams", func(context.Context) (uint64, error) {
			return drain(numbers().Via(gostreams.NewMap(work, goroutines)), plus), nil
		}},
	})
}

// The same in the order of the source.
func BenchmarkOrdered(b *testing.B) {
	compare(b, events, effortSum(mix), equal, []contestant[uint64]{
		{"flow", func(ctx context.Context) (sum uint64, _ error) {
			for n, err := range flow.Map(flow.From(upTo(events)).Ordered(goroutines), work).All(ctx) {
				if err != nil {
					return 0, err
				}
				sum = mix(sum, n)
			}
			return sum, nil
		}},
		{"errgroup", func(ctx context.Context) (sum uint64, _ error) {
			results := make([]uint64, events) // of everything: nothing bounds what waits for its turn
			g, _ := errgroup.WithContext(ctx)
			g.SetLimit(goroutines)
			for start := 0; start < events; start += chunk {
				g.Go(func() error {
					for n := start; n < start+chunk; n++ {
						results[n] = work(uint64(n))
					}
					return nil
				})
			}
			err := g.Wait()
			for _, n := range results {
				sum = mix(sum, n)
			}
			return sum, err
		}},
		{"conc", func(context.Context) (sum uint64, _ error) {
			s := concstream.New().WithMaxGoroutines(goroutines)
			for n := range upTo(events) {
				s.Go(func() concstream.Callback {
					n := work(n)
					return func() { sum = mix(sum, n) }
				})
			}
			s.Wait()
			return sum, nil
		}},
	})
}

func work(n uint64) uint64 { return effort(n + 1) }
