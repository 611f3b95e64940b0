package flow_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millhand/millhand/flow"
)

// A benchmark stands beside the same work in a loop written by hand: Flow and Loop, in events a second.
const million = 1_000_000

func perSecond(b *testing.B, events int) {
	b.Helper()
	b.ReportMetric(float64(b.N)*float64(events)/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

func BenchmarkPartitionSum(b *testing.B) {
	b.Run("Flow", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			doubled := flow.Map(flow.From(upTo(million)), func(n int) int { return 2 * n })
			keyed := flow.By(doubled, func(n int) int { return n & 1022 }).Partitions(2)
			sums := flow.Fold(keyed, func(int) int { return 0 }, func(a, n int) int { return a + n })
			if groups, err := flow.Collect(b.Context(), sums); err != nil || len(groups) != 512 {
				b.Fatal(len(groups), err)
			}
		}
		perSecond(b, million)
	})
	b.Run("Loop", func(b *testing.B) {
		for b.Loop() {
			sums := map[int]int{}
			for n := range million {
				n *= 2
				sums[n&1022] += n
			}
			if len(sums) != 512 {
				b.Fatal(len(sums))
			}
		}
		perSecond(b, million)
	})
}

func BenchmarkFused(b *testing.B) {
	b.Run("Flow", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			doubled := flow.Map(flow.From(upTo(million)), func(n int) int { return 2 * n })
			thirds := flow.Map(doubled.Filter(func(n int) bool { return n%3 == 0 }), func(n int) int { return n + 1 })
			if err := thirds.Run(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, million)
	})
	b.Run("Loop", func(b *testing.B) {
		sum := 0
		for b.Loop() {
			for n := range million {
				if n *= 2; n%3 == 0 {
					sum += n + 1
				}
			}
		}
		b.ReportMetric(float64(sum&1), "odd")
		perSecond(b, million)
	})
}

func BenchmarkOrdered(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := flow.From(upTo(million)).Ordered(2).Take(million).Run(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	perSecond(b, million)
}

// text is size bytes of lines of words, some of them frequent.
func text(size int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	words := rand.NewZipf(random, 1.1, 4, 50_000)
	var b bytes.Buffer
	b.Grow(size + 100)
	for line := 1; b.Len() < size; line++ {
		fmt.Fprintf(&b, "word%d", words.Uint64())
		if line%10 == 0 {
			b.WriteByte('\n')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.Bytes()
}

func BenchmarkWordCount(b *testing.B) {
	const size = 100_000_000
	all := string(text(size))
	half := strings.IndexByte(all[len(all)/2:], '\n') + len(all)/2 + 1
	parts := []string{all[:half], all[half:]}
	b.Run("Flow", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			lines := flow.FlatMap(flow.From(slices.Values(parts)).Stages(2), strings.Lines)
			words := flow.FlatMap(lines, strings.FieldsSeq)
			counts := flow.CountBy(flow.By(words, func(w string) string { return w }).Partitions(2))
			if groups, err := flow.Collect(b.Context(), counts); err != nil || len(groups) < 1000 {
				b.Fatal(len(groups), err)
			}
		}
	})
	b.Run("Loop", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			var counts [2]map[string]int
			var both sync.WaitGroup
			for i, part := range parts {
				both.Go(func() { counts[i] = countWords(part) })
			}
			both.Wait()
			for w, n := range counts[1] {
				counts[0][w] += n
			}
		}
	})
}

func countWords(part string) map[string]int {
	counts := map[string]int{}
	for line := range strings.Lines(part) {
		for w := range strings.FieldsSeq(line) {
			counts[w]++
		}
	}
	return counts
}
