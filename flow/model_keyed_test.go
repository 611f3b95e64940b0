package flow_test

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/flow"
)

// The steps of [TestFlowsYieldWhatLoopsDo] that have keys, windows of counts or marks, and the rest.

func keyedSteps() map[string]func(*rapid.T, sketch) sketch {
	return map[string]func(*rapid.T, sketch) sketch{
		"uniq": uniqStep, "count": countStep, "sum": sumStep, "scan": scanStep, "join": joinStep,
		"reduce": reduceStep, "trigger": triggerStep, "gather": gatherStep, "top": topStep,
		"count windows": countWindowStep, "every n": everyStep, "marks": markStep,
		"flat try": flatTryStep, "each": eachStep,
	}
}

func third(v int) int { return v % 3 }

func add(a, v int) int { return a + v }

func zero(int) int { return 0 }

// byThird are the events of each key, in order.
func byThird(events []int) [3][]int {
	var lists [3][]int
	for _, v := range events {
		lists[third(v)] = append(lists[third(v)], v)
	}
	return lists
}

func sumOf(events []int) (s int) {
	for _, v := range events {
		s += v
	}
	return s
}

func scanStep(rt *rapid.T, s sketch) sketch {
	keyed, _ := drawKeyed(rt, s, third)
	var want []int
	for key, list := range byThird(s.want) {
		for n := range list {
			want = append(want, 10*(n+1)+key)
		}
		if len(list) > 0 {
			want = append(want, 10*len(list)+key+5)
		}
	}
	type counted struct{ key, n int }
	scanned := flow.Scan(keyed, func(k int) counted { return counted{key: k} },
		func(c counted, _ int) (counted, []int) { c.n++; return c, []int{10*c.n + c.key} },
		func(c counted) []int { return []int{10*c.n + c.key + 5} })
	return sketch{scanned, want, false}
}

func joinStep(rt *rapid.T, s sketch) sketch {
	if len(s.want) > 500 {
		return s
	}
	other := drawSource(rt)
	left, _ := drawKeyed(rt, s, third)
	right := flow.By(other.stream, func(v int) int { return v % 4 })
	var want []int
	for _, l := range s.want {
		found := false
		for _, r := range other.want {
			if third(l) == r%4 {
				want, found = append(want, l+3*r), true
			}
		}
		if !found {
			want = append(want, 1)
		}
	}
	return sketch{flow.Map(flow.Join(flow.Left, left, right), func(j flow.Joined[int, int]) int {
		if !j.HasRight {
			return 1
		}
		return j.Left + 3*j.Right
	}), want, false}
}

// partitioned has each key in a partition that is known.
func partitioned(s sketch) flow.Keyed[int, int] {
	return flow.By(s.stream, third).Partitions(3).PartitionBy(func(k int) int { return k })
}

func reduceStep(_ *rapid.T, s sketch) sketch {
	var want []int
	for _, list := range byThird(s.want) {
		want = append(want, sumOf(list))
	}
	return sketch{flow.Reduce(partitioned(s), func() int { return 0 }, add).Emit(), want, false}
}

func triggerStep(rt *rapid.T, s sketch) sketch {
	n := rapid.IntRange(1, 5).Draw(rt, "trigger")
	var want []int
	for _, list := range byThird(s.want) {
		for len(list) >= n {
			want, list = append(want, n), list[n:]
		}
		want = append(want, len(list))
	}
	counts := flow.Reduce(partitioned(s).Within(flow.Global[int]().EveryN(n)), func() int { return 0 }, func(a, _ int) int { return a + 1 })
	return sketch{flow.OnTrigger(counts, func(a int, _ flow.Pane) ([]int, int) { return []int{a}, 0 }), want, false}
}

func gatherStep(rt *rapid.T, s sketch) sketch {
	keyed, _ := drawKeyed(rt, s, third)
	sums := flow.Reduce(keyed, func() int { return 0 }, add)
	return sketch{flow.Gather(sums, func() int { return 0 }, func(b, a int, _ flow.Pane) int { return a + b }), []int{sumOf(s.want)}, true}
}

func topStep(rt *rapid.T, s sketch) sketch {
	n := rapid.IntRange(1, 10).Draw(rt, "top")
	want := slices.SortedFunc(slices.Values(s.want), func(a, b int) int { return cmp.Compare(b, a) })
	top := flow.FlatMap(flow.Top(s.stream, n, cmp.Compare[int]), slices.Values[[]int])
	return sketch{top, want[:min(n, len(want))], true}
}

// folded are the sums of the panes of windows whose result depends on the order of a key's events.
func folded(rt *rapid.T, s sketch, w flow.Window[int]) flow.Stream[int] {
	keyed, _ := drawKeyed(rt, s, third)
	return flow.Map(flow.Fold(keyed.Within(w), zero, add), func(g flow.Group[int, int]) int { return g.Value })
}

func countWindowStep(rt *rapid.T, s sketch) sketch {
	if !s.ordered {
		return s
	}
	n := rapid.IntRange(1, 5).Draw(rt, "window")
	var want []int
	for _, list := range byThird(s.want) {
		for part := range slices.Chunk(list, n) {
			want = append(want, sumOf(part))
		}
	}
	return sketch{folded(rt, s, flow.Count[int](n)), want, false}
}

func everyStep(rt *rapid.T, s sketch) sketch {
	if !s.ordered {
		return s
	}
	n := rapid.IntRange(1, 5).Draw(rt, "every")
	var want []int
	for _, list := range byThird(s.want) {
		for i := n; i <= len(list); i += n {
			want = append(want, sumOf(list[:i]))
		}
		if len(list) > 0 {
			want = append(want, sumOf(list))
		}
	}
	return sketch{folded(rt, s, flow.Global[int]().EveryN(n)), want, false}
}

func markStep(rt *rapid.T, s sketch) sketch {
	if !s.ordered {
		return s
	}
	mark := rapid.SampledFrom([]flow.Mark{flow.Before, flow.After, flow.Only}).Draw(rt, "mark")
	of := func(v int) flow.Mark {
		if v%5 == 0 {
			return mark
		}
		return flow.Plain
	}
	var want []int
	for _, list := range byThird(s.want) {
		total, some := 0, false
		for _, v := range list {
			if m := of(v); (m == flow.Before || m == flow.Only) && some {
				want = append(want, total)
			}
			if of(v) != flow.Only {
				total, some = total+v, true
			}
			if of(v) == flow.After {
				want = append(want, total)
			}
		}
		if some {
			want = append(want, total)
		}
	}
	return sketch{folded(rt, s, flow.Global[int]().When(of)), want, false}
}

// An error of FlatTry costs what follows in its sequence, and nothing before it.
func flatTryStep(_ *rapid.T, s sketch) sketch {
	once := flow.FlatTry(s.stream, func(_ context.Context, v int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			switch {
			case !yield(v, nil):
			case v%2 == 0:
				yield(v+1, nil)
			default:
				yield(0, errors.New("odd"))
			}
		}
	})
	want := mapped(s.want, func(v int) []int {
		if v%2 == 1 {
			return []int{v}
		}
		return []int{v, v + 1}
	})
	return sketch{once.OnError(func(*flow.ItemError) error { return nil }), want, s.ordered}
}

func eachStep(_ *rapid.T, s sketch) sketch {
	return sketch{s.stream.Each(func(int) {}), s.want, s.ordered}
}
