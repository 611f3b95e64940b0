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
		if got := percentFor(live, allowanceMax); got != want {
			t.Errorf("%d live bytes: %d %%, want %d", live, got, want)
		}
	}
}

// A heap never grows by more than the allowance, or by its own size where that is more.
func TestAllowance(t *testing.T) {
	for _, limit := range []int64{1 << 20, 72 << 20, 1 << 30, math.MaxInt64} {
		allowance := allowanceFor(limit)
		if allowance > allowanceMax || allowance > uint64(limit)/4 {
			t.Errorf("%d bytes of garbage are allowed of %d", allowance, limit)
		}
		for live := uint64(1); live < 1<<40; live += live/3 + 1 {
			if garbage := live / 100 * uint64(percentFor(live, allowance)); garbage > max(allowance, live) {
				t.Fatalf("%d live bytes: %d more", live, garbage)
			}
		}
	}
}

// At least a tenth of a container's memory is left for what is not Go's.
func TestLimitFor(t *testing.T) {
	for container, want := range map[uint64]int64{
		96 << 20: 72 << 20, 192 << 20: 168 << 20, 1000 << 20: 900 << 20, 32 << 20: 16 << 20, 0: 0,
		math.MaxUint64: math.MaxInt64, math.MaxInt64: math.MaxInt64,
	} {
		if got := limitFor(container); got != want {
			t.Errorf("%d bytes: %d, want %d", container, got, want)
		}
	}
}

// The allowance follows the memory limit that the environment sets.
func TestMemoryLimitOfTheEnvironment(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "64MiB")
	before := debug.SetMemoryLimit(64 << 20) // the runtime read the variable when it started
	defer debug.SetMemoryLimit(before)
	debug.SetGCPercent(percentMin)
	live := make([]byte, 8<<20)
	stop := tune()
	defer stop()
	if got := debug.SetMemoryLimit(-1); got != 64<<20 {
		t.Errorf("the limit is %d, want what the environment says", got)
	}
	var at, alive uint64
	for range 100 { // the percentage is set a moment after each collection, by a clean-up
		if at, alive = goal(), heapAlive(); at <= 2*alive+2*(64<<20)/allowanceOf {
			break
		}
		runtime.Gosched()
	}
	if at > 2*alive+2*(64<<20)/allowanceOf {
		t.Errorf("%d bytes of 64 MiB are collected at %d", alive, at)
	}
	runtime.KeepAlive(live)
}

// heapAlive returns the size of what the last collection left.
func heapAlive() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
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
	stop := tune()
	if small := goal(); small < 3*before {
		t.Errorf("a small heap is collected at %d bytes, %d without", small, before)
	}
	live := make([]byte, 2*allowanceMax)
	for goal() > 9*allowanceMax/2 { // the clean-up runs a moment after the collection
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
	stop := tune()
	defer stop()
	if p := debug.SetGCPercent(percentMin); p != percentMin {
		t.Errorf("%d %%, want what it was", p)
	}
}
