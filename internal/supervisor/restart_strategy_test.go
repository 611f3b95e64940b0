package supervisor

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestRestartOnEnd(t *testing.T) {
	tests := []struct {
		restart         Restart
		clean, abnormal action
	}{
		{Permanent, restart, restart},
		{Transient, keep, restart},
		{Temporary, forget, forget},
	}
	for _, test := range tests {
		if got := test.restart.onEnd(true); got != test.clean {
			t.Errorf("%v, clean end: %v, want %v", test.restart, got, test.clean)
		}
		if got := test.restart.onEnd(false); got != test.abnormal {
			t.Errorf("%v, abnormal end: %v, want %v", test.restart, got, test.abnormal)
		}
	}
}

func TestAutoShutdown(t *testing.T) {
	tests := []struct {
		auto        AutoShutdown
		significant bool
		left        int
		want        bool
	}{
		{Never, true, 0, false},
		{AnySignificant, true, 3, true},
		{AnySignificant, false, 0, false},
		{AllSignificant, true, 1, false},
		{AllSignificant, true, 0, true},
		{AllSignificant, false, 0, false},
	}
	for _, test := range tests {
		if got := test.auto.ends(test.significant, test.left); got != test.want {
			t.Errorf("%v.ends(%t, %d) = %t, want %t", test.auto, test.significant, test.left, got, test.want)
		}
	}
}

func TestPlan(t *testing.T) {
	children := []Restart{Permanent, Temporary, Transient, Temporary, Permanent}
	tests := []struct {
		strategy Strategy
		failed   int
		want     plan
	}{
		{OneForOne, 2, plan{start: []int{2}}},
		{OneForAll, 2, plan{stop: []int{4, 3, 1, 0}, forget: []int{3, 1}, start: []int{0, 2, 4}}},
		{RestForOne, 2, plan{stop: []int{4, 3}, forget: []int{3}, start: []int{2, 4}}},
		{RestForOne, 0, plan{stop: []int{4, 3, 2, 1}, forget: []int{3, 1}, start: []int{0, 2, 4}}},
		{RestForOne, 4, plan{start: []int{4}}},
	}
	for _, test := range tests {
		got := test.strategy.plan(test.failed, children)
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(plan{})); diff != "" {
			t.Errorf("%v, child %d (-want +got):\n%s", test.strategy, test.failed, diff)
		}
	}
}

// The naive model asks of each child in turn what becomes of it.
func TestPlanAsksEachChild(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		strategy := rapid.SampledFrom([]Strategy{OneForOne, OneForAll, RestForOne}).Draw(t, "strategy")
		children := rapid.SliceOfN(rapid.SampledFrom([]Restart{Permanent, Transient, Temporary}), 1, 8).Draw(t, "children")
		failed := rapid.IntRange(0, len(children)-1).Draw(t, "failed")
		var want plan
		for i, c := range children {
			concerned := i == failed || strategy == OneForAll || strategy == RestForOne && i > failed
			switch {
			case !concerned:
				continue
			case i == failed:
				want.start = append(want.start, i)
				continue
			case c == Temporary:
				want.forget = append(want.forget, i)
			default:
				want.start = append(want.start, i)
			}
			want.stop = append(want.stop, i)
		}
		slices.Reverse(want.stop)
		slices.Reverse(want.forget)
		if diff := cmp.Diff(want, strategy.plan(failed, children), cmp.AllowUnexported(plan{})); diff != "" {
			t.Fatalf("plan (-want +got):\n%s", diff)
		}
	})
}
