package flow_test

import (
	"cmp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/flow"
)

// What a step makes when its goroutine has ended comes behind all that was in order.
func TestTopBehindOrdered(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3000} {
		top := collect(t, flow.Top(flow.From(upTo(n)).Ordered(3), 2, cmp.Compare[int]))
		if len(top) != 1 || len(top[0]) != min(n, 2) || n > 0 && top[0][0] != n-1 {
			t.Errorf("of %d: %v", n, top)
		}
	}
}

// What windows say about how far they are is for the next windows, and nothing for the layers between.
func TestLayersBelowWindows(t *testing.T) {
	w := flow.Fixed(10*ms, func(n int) time.Time { return time.UnixMilli(int64(n)) })
	late := func(g flow.Group[int, int]) time.Time { return g.Pane.Start }
	for name, layer := range map[string]func(flow.Stream[flow.Group[int, int]]) flow.Stream[flow.Group[int, int]]{
		"ordered": func(s flow.Stream[flow.Group[int, int]]) flow.Stream[flow.Group[int, int]] { return s.Ordered(2) },
		"stages":  func(s flow.Stream[flow.Group[int, int]]) flow.Stream[flow.Group[int, int]] { return s.Stages(3) },
		"merged": func(s flow.Stream[flow.Group[int, int]]) flow.Stream[flow.Group[int, int]] {
			return flow.Merge(s, flow.From(func(func(flow.Group[int, int]) bool) {}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, events := range []int{0, 1, 1000} {
				synctest.Test(t, func(t *testing.T) {
					counts := flow.CountBy(flow.By(flow.From(upTo(events)), third).Partitions(4).Within(w))
					hours := flow.By(layer(counts), func(g flow.Group[int, int]) int { return g.Key }).Within(flow.Fixed(time.Hour, late))
					total := 0
					for _, g := range collect(t, flow.Fold(hours, zero, func(a int, g flow.Group[int, int]) int { return a + g.Value })) {
						total += g.Value
					}
					if total != events {
						t.Errorf("%d of %d events were counted", total, events)
					}
				})
			}
		})
	}
}
