package flow_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/flow"
)

// sketch is a flow together with what it has to yield, by loops over slices.
type sketch struct {
	stream  flow.Stream[int]
	want    []int
	ordered bool // want is the sequence; else the multiset
}

// Whatever the steps, layers and partitions are, and however the input is cut into deliveries, a flow
// yields what the same steps on a slice do: as a sequence where order is promised, as a multiset
// elsewhere (I12). No goroutine is left.
func TestFlowsYieldWhatLoopsDo(t *testing.T) {
	all := steps()
	maps.Copy(all, keyedSteps())
	rapid.Check(t, func(rt *rapid.T) {
		s := drawSource(rt)
		for range rapid.IntRange(0, 6).Draw(rt, "steps") {
			s = all[rapid.SampledFrom(slices.Sorted(maps.Keys(all))).Draw(rt, "step")](rt, s)
		}
		var got []int
		var err error
		synctest.Test(t, func(t *testing.T) { got, err = flow.Collect(t.Context(), s.stream) })
		if err != nil {
			rt.Fatal(err)
		}
		want := slices.Clone(s.want)
		if !s.ordered {
			slices.Sort(got)
			slices.Sort(want)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("got %v, want %v (ordered: %t)", got, want, s.ordered)
		}
	})
}

func drawSource(rt *rapid.T) sketch {
	events := rapid.SliceOfN(rapid.IntRange(0, 40), 0, 60).Draw(rt, "events")
	cuts := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 10).Draw(rt, "cuts")
	switch rapid.IntRange(0, 3).Draw(rt, "source") {
	case 3:
		c := make(chan int, len(events))
		for _, v := range events {
			c <- v
		}
		close(c)
		return sketch{flow.FromChan(c), events, true}
	case 0:
		return sketch{flow.From(slices.Values(events)), events, true}
	case 1:
		return sketch{flow.FromErr(func(yield func(int, error) bool) {
			for _, v := range events {
				if !yield(v, nil) {
					return
				}
			}
		}), events, true}
	}
	rest, call := events, 0 // each example is run once
	return sketch{flow.FromFunc(func(_ context.Context, n int, out []int) ([]int, error) {
		n = min(n, len(rest), cuts[call%len(cuts)])
		call++
		out = append(out, rest[:n]...)
		if rest = rest[n:]; len(rest) == 0 {
			return out, io.EOF
		}
		return out, nil
	}).Demand(rapid.IntRange(1, 20).Draw(rt, "demand")), events, true}
}

func mapped(events []int, f func(int) []int) []int {
	var all []int
	for _, v := range events {
		all = append(all, f(v)...)
	}
	return all
}

func steps() map[string]func(*rapid.T, sketch) sketch {
	twice := func(v int) []int { return []int{v, v + 1} }
	even := func(v int) bool { return v%2 == 0 }
	evens := func(v int) []int {
		if even(v) {
			return []int{v}
		}
		return nil
	}
	triple := func(v int) []int { return []int{3 * v} }
	tripled := func(_ context.Context, batch []int) ([]int, error) { return mapped(batch, triple), nil }
	return map[string]func(*rapid.T, sketch) sketch{
		"map": func(_ *rapid.T, s sketch) sketch {
			return sketch{flow.Map(s.stream, func(v int) int { return 3 * v }), mapped(s.want, triple), s.ordered}
		},
		"filter": func(_ *rapid.T, s sketch) sketch {
			return sketch{s.stream.Filter(even), mapped(s.want, evens), s.ordered}
		},
		"flat": func(_ *rapid.T, s sketch) sketch {
			return sketch{flow.FlatMap(s.stream, func(v int) iter.Seq[int] { return slices.Values(twice(v)) }), mapped(s.want, twice), s.ordered}
		},
		"batch": func(_ *rapid.T, s sketch) sketch {
			return sketch{flow.MapBatch(s.stream, tripled), mapped(s.want, triple), s.ordered}
		},
		"try": func(_ *rapid.T, s sketch) sketch {
			onlyEven := flow.Try(s.stream, func(_ context.Context, v int) (int, error) {
				if !even(v) {
					return 0, errors.New("odd")
				}
				return v, nil
			})
			return sketch{onlyEven.OnError(func(*flow.ItemError) error { return nil }), mapped(s.want, evens), s.ordered}
		},
		"take": func(rt *rapid.T, s sketch) sketch {
			n := rapid.IntRange(0, 30).Draw(rt, "take")
			if !s.ordered {
				n = len(s.want) // which ones come first is not said
			}
			return sketch{s.stream.Take(n), s.want[:min(n, len(s.want))], s.ordered}
		},
		"stages": func(rt *rapid.T, s sketch) sketch {
			n := rapid.IntRange(1, 4).Draw(rt, "stages")
			return sketch{s.stream.Stages(n), s.want, s.ordered && n == 1}
		},
		"ordered": func(rt *rapid.T, s sketch) sketch {
			return sketch{s.stream.Ordered(rapid.IntRange(1, 4).Draw(rt, "ordered")), s.want, s.ordered}
		},
		"demand": func(rt *rapid.T, s sketch) sketch {
			return sketch{s.stream.Demand(rapid.IntRange(1, 20).Draw(rt, "layer's demand")), s.want, s.ordered}
		},
		"merge": func(rt *rapid.T, s sketch) sketch {
			other := drawSource(rt)
			return sketch{flow.Merge(s.stream, other.stream), slices.Concat(s.want, other.want), false}
		},
	}
}

func drawKeyed(rt *rapid.T, s sketch, key func(int) int) (flow.Keyed[int, int], bool) {
	n := rapid.IntRange(1, 4).Draw(rt, "partitions")
	return flow.By(s.stream, key).Partitions(n), s.ordered && n == 1
}

func uniqStep(rt *rapid.T, s sketch) sketch {
	keyed, ordered := drawKeyed(rt, s, func(v int) int { return v })
	var want []int
	for _, v := range s.want {
		if !slices.Contains(want, v) {
			want = append(want, v)
		}
	}
	return sketch{flow.Uniq(keyed), want, ordered}
}

func countStep(rt *rapid.T, s sketch) sketch {
	keyed, _ := drawKeyed(rt, s, func(v int) int { return v % 7 })
	counts := map[int]int{}
	for _, v := range s.want {
		counts[v%7]++
	}
	return sketch{flow.Map(flow.CountBy(keyed), weigh), weights(counts), false}
}

func sumStep(rt *rapid.T, s sketch) sketch {
	keyed, _ := drawKeyed(rt, s, func(v int) int { return v % 5 })
	sums := map[int]int{}
	for _, v := range s.want {
		sums[v%5] += v
	}
	folded := flow.Fold(keyed, func(int) int { return 0 }, func(a, v int) int { return a + v })
	return sketch{flow.Map(folded, weigh), weights(sums), false}
}

func weigh(g flow.Group[int, int]) int { return 10*(g.Value%1000) + g.Key }

func weights(groups map[int]int) []int {
	var all []int
	for k, v := range groups {
		all = append(all, weigh(flow.Group[int, int]{Key: k, Value: v}))
	}
	return all
}

// The events of a key come in the order of their source, whatever stands between, as long as that keeps
// the order.
func TestOrderByKey(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		layers := rapid.IntRange(1, 4).Draw(rt, "ordered")
		partitions := rapid.IntRange(1, 4).Draw(rt, "partitions")
		numbers := flow.From(upTo(rapid.IntRange(0, 3000).Draw(rt, "events"))).Ordered(layers)
		keyed := flow.By(numbers, func(n int) int { return n % 13 }).Partitions(partitions)
		lists := flow.Fold(keyed, func(int) []int { return nil }, func(a []int, n int) []int { return append(a, n) })
		groups, err := flow.Collect(t.Context(), lists)
		if err != nil {
			rt.Fatal(err)
		}
		for _, g := range groups {
			if !slices.IsSorted(g.Value) {
				rt.Fatalf("key %d: %v", g.Key, g.Value)
			}
		}
	})
}
