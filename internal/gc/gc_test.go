package gc

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

func TestPercentFor(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 400, 1 << 20: 400, 32 << 20: 400, 64 << 20: 200, 100 << 20: 128, 128 << 20: 100, 4 << 30: 100, math.MaxUint64: 100,
	} {
		if got := percentFor(live); got != want {
			t.Errorf("%d live bytes: %d %%, want %d", live, got, want)
		}
	}
}

// A heap never grows by more than the allowance, or by its own size where that is more.
func TestAllowance(t *testing.T) {
	for live := uint64(1); live < 1<<40; live += live/3 + 1 {
		if garbage := live / 100 * uint64(percentFor(live)); garbage > max(allowance, live) {
			t.Fatalf("%d live bytes: %d more", live, garbage)
		}
	}
}

// goal collects garbage, and returns the size of the heap at which it is collected next.
func goal() uint64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func TestTune(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	debug.SetGCPercent(percentMin)
	before := goal()
	stop := Tune()
	if small := goal(); small < 3*before {
		t.Errorf("a small heap is collected at %d bytes, %d without", small, before)
	}
	live := make([]byte, 2*allowance)
	for goal() > 9*allowance/2 { // it is told of a collection a moment after it
		runtime.Gosched()
	}
	runtime.KeepAlive(live)
	stop()
	if after := goal(); after > 2*before {
		t.Errorf("after the end it is collected at %d bytes, %d before", after, before)
	}
}

func TestTheEnvironmentHasItsWay(t *testing.T) {
	debug.SetGCPercent(percentMin)
	t.Setenv("GOGC", "50")
	stop := Tune()
	defer stop()
	if p := debug.SetGCPercent(percentMin); p != percentMin {
		t.Errorf("%d %%, want what it was", p)
	}
}
