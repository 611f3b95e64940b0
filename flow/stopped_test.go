package flow_test

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/millhand/millhand/flow"
)

// What is kept of events is no result when the events are not all there: nothing comes of it if the flow is
// stopped from below. Here no fold can have one, since the source never ends.
func TestWhatIsStoppedHasNoResults(t *testing.T) {
	same := func(n int) int { return n & 63 }
	count := func(a, _ int) int { return a + 1 }
	for name, in := range map[string]flow.Stream[int]{
		"one goroutine": flow.From(forever()),
		"layers":        flow.From(forever()).Stages(2),
		"ordered":       flow.From(forever()).Ordered(2),
	} {
		for _, partitions := range []int{1, 3} {
			keyed := flow.By(in, same).Partitions(partitions)
			reduced := flow.Reduce(keyed, func() int { return 0 }, count)
			join := flow.Join(flow.Left, keyed, flow.By(flow.From(upTo(0)), same))
			for operator, s := range map[string]flow.Stream[int]{
				"CountBy": flow.Map(flow.CountBy(keyed), weigh),
				"Fold":    flow.Map(flow.Fold(keyed, func(int) int { return 0 }, count), weigh),
				"Count":   flow.Map(flow.CountBy(keyed.Within(flow.Count[int](1<<40))), weigh),
				"Reduce":  reduced.Emit(),
				"Gather":  flow.Gather(reduced, func() int { return 0 }, func(b, a int, _ flow.Pane) int { return a + b }),
				"Top":     flow.FlatMap(flow.Top(in, 10, cmp.Compare[int]), slices.Values[[]int]),
				"Scan": flow.Scan(keyed, func(int) int { return 0 }, func(a, _ int) (int, []int) { return a, nil },
					func(a int) []int { return []int{a} }),
				"Join": flow.Map(join, func(j flow.Joined[int, int]) int { return j.Left }),
			} {
				one := flow.From(upTo(1))
				all := flow.Merge(s.Each(func(n int) { t.Errorf("%s of %s: got %d", operator, name, n) }), one)
				synctest.Test(t, func(t *testing.T) {
					if got := collect(t, all.Take(1)); len(got) != 1 {
						t.Errorf("%s of %s: got %v", operator, name, got)
					}
					for _, err := range all.All(t.Context()) {
						if err != nil {
							t.Errorf("%s of %s: %v", operator, name, err)
						}
						break
					}
				})
			}
		}
	}
}

// Of windows those that are complete come, and none of those that are open when the loop is left.
func TestLoopsThatAreLeftHaveWholeWindows(t *testing.T) {
	endless := flow.Map(flow.From(forever()), func(n int) tick { return tick{Ms: n, Key: n % 5, N: n} })
	for _, partitions := range []int{1, 3} {
		keyed := flow.By(endless, tick.key).Partitions(partitions)
		for name, w := range map[string]flow.Window[tick]{
			"fixed": flow.Fixed(50*ms, tick.time), "sliding": flow.Sliding(100*ms, 50*ms, tick.time), "counts": flow.Count[tick](10),
		} {
			whole := flow.CountBy(keyed.Within(w)).Each(func(g flow.Group[int, int]) {
				if g.Value != 10 && (name != "sliding" || g.Value != 20) {
					t.Errorf("%s: key %d has %d events in a window", name, g.Key, g.Value)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				for n := range 30 {
					collect(t, whole.Take(n))
					for _, err := range whole.All(t.Context()) {
						if n--; n < 0 || err != nil {
							break
						}
					}
				}
			})
		}
	}
}

// A context that ends when everything has been read, and before all has come out, is not taken for the end.
func TestCancelAtTheEnd(t *testing.T) {
	enough := errors.New("enough")
	for _, partitions := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			in := flow.From(func(yield func(int) bool) {
				defer cancel(enough)
				for n := range 10 {
					if !yield(n) {
						return
					}
				}
			})
			counts, err := flow.Collect(ctx, flow.CountBy(flow.By(in, func(n int) int { return n }).Partitions(partitions)))
			if !errors.Is(err, enough) && (err != nil || len(counts) != 10) {
				t.Errorf("got %d counts and %v", len(counts), err)
			}
		})
	}
}
