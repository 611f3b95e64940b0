package modeltest

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestStepsAreTakenByWeight(t *testing.T) {
	rare, often, checks := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		steps := make(Steps)
		steps.Add("rare", 1, func(*rapid.T) { rare++ })
		steps.Add("often", 9, func(*rapid.T) { often++ })
		steps.Check(func(*rapid.T) { checks++ })
		t.Repeat(steps)
	})
	if rare == 0 || often < 3*rare {
		t.Errorf("the step of weight 9 was taken %d times, that of weight 1 %d times", often, rare)
	}
	if checks < rare+often {
		t.Errorf("%d checks after %d steps", checks, rare+often)
	}
}

func TestSuspendedMovesTheWallClockOnly(t *testing.T) {
	start := time.Now()
	if s := Suspended(start, time.Hour); s.Sub(start) != 0 || !s.Round(0).Equal(start.Round(0).Add(time.Hour)) {
		t.Errorf("suspended by an hour, %v is %v", start, s)
	}
}
