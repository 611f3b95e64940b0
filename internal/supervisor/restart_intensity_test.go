package supervisor

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestIntensity(t *testing.T) {
	tests := []struct {
		name        string
		maxRestarts int
		within      time.Duration
		at          []time.Duration // of the restarts
		want        []bool          // whether each is allowed
	}{
		{"none allowed", 0, time.Second, []time.Duration{0}, []bool{false}},
		{"one too many", 2, time.Second, []time.Duration{0, 1, 2}, []bool{true, true, false}},
		{"exactly as old as the window", 1, time.Second, []time.Duration{0, time.Second}, []bool{true, false}},
		{"just older", 1, time.Second, []time.Duration{0, time.Second + 1}, []bool{true, true}},
		{"the window slides", 2, 10, []time.Duration{0, 8, 11, 18, 19}, []bool{true, true, true, false, true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := intensity{maxRestarts: test.maxRestarts, within: test.within}
			for n, at := range test.at {
				if got := i.restart(time.Unix(0, int64(at))); got != test.want[n] {
					t.Errorf("restart at %v = %t, want %t", at, got, test.want[n])
					return
				}
				if !test.want[n] {
					return // a supervisor asks no more after it was refused
				}
			}
		})
	}
}

// A restart is refused exactly if the closed window before it holds more than the limit, itself
// included.
func TestIntensityIsACountOfTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(0, 5).Draw(t, "limit")
		within := time.Duration(rapid.IntRange(1, 50).Draw(t, "within"))
		i := intensity{maxRestarts: limit, within: within}
		var all []time.Duration
		now := time.Duration(0)
		for range rapid.IntRange(1, 50).Draw(t, "restarts") {
			now += time.Duration(rapid.IntRange(0, 30).Draw(t, "gap"))
			all = append(all, now)
			count := 0
			for _, at := range all {
				if at >= now-within {
					count++
				}
			}
			got := i.restart(time.Unix(0, int64(now)))
			if want := count <= limit; got != want {
				t.Fatalf("restart = %t with %d of at most %d in the window, want %t", got, count, limit, want)
			}
			if len(i.recent) > limit+1 {
				t.Fatalf("keeps %d restarts, want at most %d", len(i.recent), limit+1)
			}
			if !got {
				return
			}
		}
	})
}
