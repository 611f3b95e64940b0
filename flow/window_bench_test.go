package flow_test

import (
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand/flow"
)

// reading is an event of the benchmark: 1,000 keys, a thousand events in each window of each.
type reading struct {
	key, n int
	at     time.Time
}

func readings() []reading {
	all := make([]reading, million)
	start := time.Unix(1_800_000_000, 0)
	for i := range all {
		all[i] = reading{key: i * 7919 % 1000, n: i, at: start.Add(time.Duration(i) * ms)}
	}
	return all
}

// Fixed windows of 100 s, which are ten, over a million events of 1,000 keys.
func BenchmarkFixedWindows(b *testing.B) {
	all := readings()
	const size = 100 * time.Second
	for name, partitions := range map[string]int{"Flow/1": 1, "Flow/2": 2} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				in := flow.From(slices.Values(all))
				keyed := flow.By(in, func(r reading) int { return r.key }).Partitions(partitions)
				sums := flow.Fold(keyed.Within(flow.Fixed(size, func(r reading) time.Time { return r.at })),
					func(int) int { return 0 }, func(a int, r reading) int { return a + r.n })
				groups, err := flow.Collect(b.Context(), sums)
				if err != nil || len(groups) != 11_000 && len(groups) != 10_000 {
					b.Fatal(len(groups), err)
				}
			}
			perSecond(b, million)
		})
	}
	b.Run("Loop", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sums, groups := map[int]int{}, 0
			window := int64(0)
			for _, r := range all {
				if w := r.at.UnixNano() / int64(size); w != window {
					groups += len(sums)
					clear(sums)
					window = w
				}
				sums[r.key] += r.n
			}
			if groups += len(sums); groups != 11_000 && groups != 10_000 {
				b.Fatal(groups)
			}
		}
		perSecond(b, million)
	})
}
