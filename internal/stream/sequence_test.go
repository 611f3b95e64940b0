package stream

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestASequenceIsExactInJavaScriptForCenturies(t *testing.T) {
	last := time.Date(2271, time.December, 31, 0, 0, 0, 0, time.UTC)
	if got := firstSequence(last); got >= 1<<53 {
		t.Errorf("in 2271 a stream begins at %d, over 2^53", got)
	}
	for _, unset := range []time.Time{{}, time.Unix(0, 0), epoch()} {
		if got := firstSequence(unset); got != 1 {
			t.Errorf("with a clock at %v a stream begins at %d, want 1", unset, got)
		}
	}
}

func TestAStreamMadeAnewBeginsBehindTheLostOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		made := epoch().Add(time.Duration(rapid.Int64Range(0, math.MaxInt64/2).Draw(t, "made")))
		lived := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(10*365*24*time.Hour)).Draw(t, "lived"))
		rate := rapid.Uint64Range(0, 1_000_000).Draw(t, "messages a second")
		stored := uint64(lived.Seconds() * float64(rate))
		if last, next := firstSequence(made)+stored, firstSequence(made.Add(lived)); next <= last {
			t.Fatalf("a stream made at %v that stored %d messages in %v gave out %d; the next one begins at %d", made, stored, lived, last, next)
		}
	})
}
