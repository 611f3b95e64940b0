package flow_test

import (
	"cmp"
	"context"
	"iter"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand/flow"
)

const billion = 1_000_000_000

// A source of a billion events, and one event that a step makes a billion of, are read only as far as
// somebody wants them: what was read, less what has come out, never exceeds 1000 events for each goroutine.
func TestReadsAreBounded(t *testing.T) {
	var read atomic.Int64
	count := func() iter.Seq[int] {
		return func(yield func(int) bool) {
			for n := range billion {
				read.Add(1)
				if !yield(n) {
					return
				}
			}
		}
	}
	double := func(n int) int { return 2 * n }
	fromOne := func() flow.Stream[int] {
		return flow.FlatMap(flow.From(upTo(1)).Stages(2), func(int) iter.Seq[int] { return count() })
	}
	tests := map[string]struct {
		flow       flow.Stream[int]
		goroutines int // layers' and source's
	}{
		"a source":          {flow.Map(flow.From(count()), double), 1},
		"layers":            {flow.Map(flow.From(count()).Stages(3).Stages(2), double), 1 + 3 + 2 + 1},
		"ordered":           {flow.Map(flow.From(count()).Ordered(3), double), 1 + 3*(1+4) + 1},
		"keys":              {flow.Uniq(flow.By(flow.From(count()), double).Partitions(2)), 1 + 2 + 1},
		"one event":         {flow.Map(fromOne(), double), 1 + 2 + 1},
		"one event, shared": {flow.Map(fromOne().Stages(2), double), 1 + 2 + 2 + 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			seen := int64(0)
			read.Store(0)
			for _, err := range tt.flow.All(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				seen++
				if ahead := read.Load() - seen; ahead > int64(1000*tt.goroutines) {
					t.Fatalf("%d events were read and %d seen", read.Load(), seen)
				}
				if seen == 20_000 {
					break
				}
			}
		})
	}
}

// In steady state no event costs an allocation: what a run allocates does not grow with its events.
func TestEventsAreNotAllocated(t *testing.T) {
	double := func(n int) int { return 2 * n }
	low := func(n int) int { return n & 63 }
	same := upTo(3)
	three := func(int) iter.Seq[int] { return same }
	tried := func(_ context.Context, n int) (int, error) { return n, nil }
	whole := func(_ context.Context, batch []int) ([]int, error) { return batch, nil }
	milliseconds := func(n int) time.Time { return time.UnixMilli(int64(n)) }
	tests := map[string]func(n int) flow.Stream[int]{
		"steps": func(n int) flow.Stream[int] {
			return flow.Map(flow.From(upTo(n)), double).Filter(func(n int) bool { return n%3 == 0 }).Each(func(int) {})
		},
		"layers": func(n int) flow.Stream[int] {
			return flow.Map(flow.From(upTo(n)).Stages(2), double).Stages(2)
		},
		"ordered": func(n int) flow.Stream[int] { return flow.Map(flow.From(upTo(n)).Ordered(3), double) },
		"uniq":    func(n int) flow.Stream[int] { return flow.Uniq(flow.By(flow.From(upTo(n)), low).Partitions(2)) },
		"counts": func(n int) flow.Stream[int] {
			return flow.Map(flow.CountBy(flow.By(flow.From(upTo(n)), low).Partitions(2)), func(g flow.Group[int, int]) int { return g.Value })
		},
		"folds": func(n int) flow.Stream[int] {
			sums := flow.Fold(flow.By(flow.From(upTo(n)), low).Partitions(2), double, func(a, n int) int { return a + n })
			return flow.Map(sums, func(g flow.Group[int, int]) int { return g.Value })
		},
		"windows": func(n int) flow.Stream[int] {
			w := flow.Fixed(time.Hour, func(n int) time.Time { return time.UnixMilli(int64(n)) })
			counts := flow.CountBy(flow.By(flow.From(upTo(n)).Stages(2), low).Partitions(2).Within(w))
			return flow.Map(counts, func(g flow.Group[int, int]) int { return g.Value })
		},
		"sizes that are asked for": func(n int) flow.Stream[int] {
			keyed := flow.By(flow.From(upTo(n)), low).Partitions(2).Metered(new(flow.Meter))
			return flow.Map(flow.Fold(keyed, func(int) weight { return weight{} }, weight.and), func(g flow.Group[int, weight]) int { return g.Value.n })
		},
		"flat": func(n int) flow.Stream[int] { return flow.FlatMap(flow.From(upTo(n)), three) },
		"flat that may fail": func(n int) flow.Stream[int] {
			pair := func(yield func(int, error) bool) { _ = yield(1, nil) && yield(2, nil) }
			return flow.FlatTry(flow.From(upTo(n)), func(context.Context, int) iter.Seq2[int, error] { return pair })
		},
		"tried":   func(n int) flow.Stream[int] { return flow.Try(flow.From(upTo(n)).Stages(2), tried) },
		"dropped": func(n int) flow.Stream[int] { return flow.MapBatch(flow.From(upTo(n)), whole).Take(1 << 30) },
		"merged":  func(n int) flow.Stream[int] { return flow.Merge(flow.From(upTo(n/2)), flow.From(upTo(n/2))) },
		"scanned": func(n int) flow.Stream[int] {
			var none []int
			return flow.Scan(flow.By(flow.From(upTo(n)), low).Partitions(2), double, func(a, n int) (int, []int) { return a + n, none }, nil)
		},
		"reduced": func(n int) flow.Stream[int] {
			return flow.Reduce(flow.By(flow.From(upTo(n)), low).Partitions(2), func() int { return 0 }, func(a, n int) int { return a + n }).Emit()
		},
		"sliding windows": func(n int) flow.Stream[int] {
			w := flow.Sliding(2*time.Hour, time.Hour, milliseconds)
			return flow.Map(flow.CountBy(flow.By(flow.From(upTo(n)), low).Partitions(2).Within(w.Late(time.Hour))), weigh)
		},
		"sessions": func(n int) flow.Stream[int] {
			counts := flow.CountBy(flow.By(flow.From(upTo(n)), low).Partitions(1).Within(flow.Session(time.Minute, milliseconds)))
			return flow.Map(counts, weigh)
		},
		"late": func(n int) flow.Stream[int] {
			w := flow.Fixed(time.Second, func(n int) time.Time { return time.UnixMilli(int64(n % 10_000)) }).OnLate(func(int) {})
			return flow.Map(flow.CountBy(flow.By(flow.From(upTo(n)), low).Partitions(2).Within(w)), weigh)
		},
		"the greatest": func(n int) flow.Stream[int] {
			return flow.FlatMap(flow.Top(flow.From(upTo(n)), 10, cmp.Compare[int]), slices.Values[[]int])
		},
	}
	for name, of := range tests {
		few, many := allocations(t, of(10_000)), allocations(t, of(60_000))
		if more := int64(many) - int64(few); more > 500 { // what buffers grow by, and the runtime does meanwhile
			t.Errorf("%s: %d allocations for 50,000 more events", name, more)
		}
	}
}

// weight is no pointer, and has a size.
type weight struct{ n int }

func (w weight) Size() int        { return w.n }
func (w weight) and(n int) weight { return weight{w.n + n} }

func allocations(t *testing.T, s flow.Stream[int]) uint64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// A wide key is as cheap as a number.
func TestKeysAreNotAllocated(t *testing.T) {
	type key struct {
		Name string
		N    int
	}
	of := func(n int) flow.Stream[int] {
		wide := flow.By(flow.From(upTo(n)), func(n int) key { return key{"name", n & 63} }).Partitions(2)
		return flow.Map(flow.CountBy(wide), func(g flow.Group[key, int]) int { return g.Value })
	}
	few, many := allocations(t, of(10_000)), allocations(t, of(60_000))
	if more := int64(many) - int64(few); more > 500 {
		t.Errorf("%d allocations for 50,000 more events", more)
	}
}
