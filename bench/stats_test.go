package main

import (
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		s    series
		want float64
	}{
		{series{4}, 4},
		{series{9, 1}, 5},
		{series{9, 1, 2}, 2},
		{series{1, 9, 2, 4}, 3},
	} {
		given := slices.Clone(tt.s)
		if got := tt.s.median(); got != tt.want {
			t.Errorf("%v.median() = %v, want %v", tt.s, got, tt.want)
		}
		if !slices.Equal(tt.s, given) {
			t.Errorf("median changed the order of the rounds: %v, was %v", tt.s, given)
		}
	}
}

func TestOver(t *testing.T) {
	if got, want := (series{1, 6}).over(series{2, 3}), (series{0.5, 2}); !slices.Equal(got, want) {
		t.Errorf("over = %v, want %v", got, want)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(i + 1)
	}
	for _, tt := range []struct {
		sorted []int64
		p      int
		want   int64
	}{
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
		{hundred[:2], 50, 1},
		{hundred[:2], 99, 2},
		{hundred[:1], 0, 1},
	} {
		if got := percentile(tt.sorted, tt.p); got != tt.want {
			t.Errorf("percentile(%d values, %d) = %d, want %d", len(tt.sorted), tt.p, got, tt.want)
		}
	}
}

func TestBudget(t *testing.T) {
	for _, tt := range []struct {
		b    budget
		v    float64
		want bool
		text string
	}{
		{budget{atLeast: 0.4}, 0.4, true, "≥ 0.4"},
		{budget{atLeast: 0.4}, 0.39, false, "≥ 0.4"},
		{budget{atMost: 25}, 25, true, "≤ 25"},
		{budget{atMost: 25}, 25.1, false, "≤ 25"},
		{budget{}, 1, true, ""},
	} {
		if got := tt.b.met(tt.v); got != tt.want || tt.b.String() != tt.text {
			t.Errorf("%q.met(%v) = %v, want %q, %v", tt.b, tt.v, got, tt.text, tt.want)
		}
	}
}
