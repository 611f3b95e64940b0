package main

import "testing"

// A sparkline has as many columns as there is room for, and each number is in one.
func TestSparkline(t *testing.T) {
	for _, tt := range []struct {
		all   []uint64
		width int
		want  string
	}{
		{nil, 8, ""},
		{[]uint64{0, 0}, 8, "▁▁"},
		{[]uint64{0, 7, 14}, 8, "▁▄█"},
		{[]uint64{1, 1, 1, 1, 0, 0, 2, 2}, 4, "▄▄▁█"},
		{[]uint64{1, 0, 0, 0, 1}, 2, "██"},
	} {
		if got := sparkline(tt.all, tt.width); got != tt.want {
			t.Errorf("%v in %d columns is %q, want %q", tt.all, tt.width, got, tt.want)
		}
	}
}
