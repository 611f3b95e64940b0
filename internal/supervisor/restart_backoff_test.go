package supervisor

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBackoff(t *testing.T) {
	b := Backoff{First: 100 * time.Millisecond, Max: time.Second}
	tests := []struct {
		backoff Backoff
		n       int
		random  float64
		want    time.Duration
	}{
		{Backoff{}, 5, 0.5, 0},
		{b, 1, 0, 100 * time.Millisecond},
		{b, 1, 0.5, 75 * time.Millisecond},
		{b, 2, 0, 200 * time.Millisecond},
		{b, 4, 0, 800 * time.Millisecond},
		{b, 5, 0, time.Second},
		{b, math.MaxInt, 0, time.Second},
		{Backoff{First: time.Second}, 100, 0, DefaultMaxBackoff},
		{Backoff{First: time.Hour}, 100, 0, time.Hour},
		{Backoff{First: 1, Max: math.MaxInt64}, 1000, 0, math.MaxInt64},
	}
	for _, test := range tests {
		if got := test.backoff.delay(test.n, test.random); got != test.want {
			t.Errorf("%+v.delay(%d, %v) = %v, want %v", test.backoff, test.n, test.random, got, test.want)
		}
	}
}

func TestBackoffStaysBetweenHalfAndWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Int64Range(1, int64(time.Hour)).Draw(t, "first")
		b := Backoff{First: time.Duration(first), Max: time.Duration(rapid.Int64Range(first, int64(24*time.Hour)).Draw(t, "max"))}
		n := rapid.IntRange(1, 100).Draw(t, "n")
		random := rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "random")
		whole := min(float64(b.Max), float64(b.First)*math.Pow(2, float64(n-1)))
		if got := float64(b.delay(n, random)); got < whole/2-1 || got > whole+1 {
			t.Fatalf("delay(%d, %v) = %v, want it between %v and %v", n, random, got, whole/2, whole)
		}
	})
}
