package peers

import (
	"context"
	"slices"
	"testing"

	streams "github.com/reugn/go-streams"
	"github.com/reugn/go-streams/extension"
	gostreams "github.com/reugn/go-streams/flow"
	"github.com/samber/ro"

	"github.com/millhand/millhand/flow"
)

func double(n uint64) uint64  { return 2 * n }
func isThird(n uint64) bool   { return n%3 == 0 }
func plusOne(n uint64) uint64 { return n + 1 }

func upTo(n uint64) func(yield func(uint64) bool) {
	return func(yield func(uint64) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// numbers is a source of go-streams.
func numbers() *extension.ChanSource {
	in := make(chan any)
	go func() {
		defer close(in)
		for n := range uint64(events) {
			in <- n
		}
	}()
	return extension.NewChanSource(in)
}

// drain adds up what comes out of go-streams.
func drain(s streams.Flow, add func(sum, n uint64) uint64) (sum uint64) {
	for v := range s.Out() {
		sum = add(sum, v.(uint64))
	}
	return sum
}

// Three short steps on numbers, and their sum: what a step costs.
func BenchmarkSteps(b *testing.B) {
	var want uint64
	for n := range uint64(events) {
		if n = double(n); isThird(n) {
			want += plusOne(n)
		}
	}
	all := slices.Collect(upTo(events))
	compare(b, events, want, equal, []contestant[uint64]{
		{"flow", func(ctx context.Context) (sum uint64, err error) {
			s := flow.Map(flow.Map(flow.From(upTo(events)), double).Filter(isThird), plusOne)
			return sum, s.Each(func(n uint64) { sum += n }).Run(ctx)
		}},
		{"loop", func(context.Context) (sum uint64, _ error) {
			for n := range upTo(events) {
				if n = double(n); isThird(n) {
					sum += plusOne(n)
				}
			}
			return sum, nil
		}},
		{"ro", func(context.Context) (uint64, error) {
			sums, err := ro.Collect(ro.Pipe4(ro.FromSlice(all), ro.Map(double), ro.Filter(isThird), ro.Map(plusOne), ro.Sum[uint64]()))
			return sums[0], err
		}},
		{"go-streams", func(context.Context) (uint64, error) {
			s := numbers().Via(gostreams.NewMap(double, 1)).Via(gostreams.NewFilter(isThird, 1)).Via(gostreams.NewMap(plusOne, 1))
			return drain(s, plus), nil
		}},
	})
}
