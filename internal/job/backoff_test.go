package job

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBackoffDefaults(t *testing.T) {
	tests := []struct {
		attempts int
		want     time.Duration
	}{
		{1, time.Second},
		{2, 2 * time.Second},
		{3, 4 * time.Second},
		{10, 512 * time.Second},
		{12, 2048 * time.Second},
		{13, time.Hour},
		{1000, time.Hour},
		{1_000_000, time.Hour},
		{0, time.Second},
		{-1, time.Second}, // as after the first
	}
	for _, tt := range tests {
		if got := (Backoff{}).Delay(tt.attempts, 0.5); got != tt.want {
			t.Errorf("Delay(%d, 0.5) = %v, want %v", tt.attempts, got, tt.want)
		}
	}
}

func TestBackoffJitter(t *testing.T) {
	tests := []struct {
		jitter, random float64
		want           time.Duration
	}{
		{0, 0, 8 * time.Second},
		{0, 0.75, 11 * time.Second}, // the default: a fifth
		{0.5, 0, 5 * time.Second},
		{0.5, 0.5, 10 * time.Second},
		{-1, 0, 10 * time.Second},
		{-1, 0.99, 10 * time.Second},
	}
	for _, tt := range tests {
		b := Backoff{Initial: 10 * time.Second, Jitter: tt.jitter}
		if got := b.Delay(1, tt.random).Round(time.Millisecond); got != tt.want {
			t.Errorf("jitter %v: Delay(1, %v) = %v, want %v", tt.jitter, tt.random, got, tt.want)
		}
	}
}

func TestBackoffConstant(t *testing.T) {
	b := Backoff{Initial: time.Minute, Factor: 1, Jitter: -1}
	for n := range 50 {
		if got := b.Delay(n, 0.9); got != time.Minute {
			t.Fatalf("Delay(%d) = %v, want 1m", n, got)
		}
	}
}

// However long a job fails, its delay stays within the jitter of the bounds, and without
// jitter it never shrinks.
func TestBackoffBounds(t *testing.T) {
	durations := rapid.Map(rapid.Int64Range(1, int64(365*24*time.Hour)), func(n int64) time.Duration { return time.Duration(n) })
	rapid.Check(t, func(t *rapid.T) {
		b := Backoff{
			Initial: durations.Draw(t, "initial"),
			Factor:  rapid.Float64Range(1, 1e6).Draw(t, "factor"),
			Max:     durations.Draw(t, "max"),
			Jitter:  rapid.Float64Range(0.001, 1).Draw(t, "jitter"),
		}
		n := rapid.IntRange(1, MaxMaxAttempts).Draw(t, "attempts")
		random := rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "random")
		low, high := float64(min(b.Initial, b.Max)), float64(b.Max)
		low, high = low*(1-b.Jitter), high*(1+b.Jitter)
		if got := float64(b.Delay(n, random)); got < low-1 || got > high+1 || got < 0 {
			t.Fatalf("%+v.Delay(%d, %v) = %v, want it in [%v, %v]", b, n, random,
				time.Duration(got), time.Duration(low), time.Duration(high))
		}
		b.Jitter = -1
		if now, next := b.Delay(n, random), b.Delay(n+1, random); next < now {
			t.Fatalf("%+v: delay %d is %v, delay %d is %v", b, n, now, n+1, next)
		}
	})
}
