// Package gc has a process collect its garbage less often while its heap is small, and more
// often when its memory is about to run out.
//
// Go collects when the heap has doubled. A worker keeps a few megabytes and allocates hundreds
// of them per second, so it would collect dozens of times a second, for nothing; and the
// embedded broker's heap is small until very many jobs wait. In a container, Go does not know
// the limit above which the process is killed.
package gc

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// A heap may hold this much garbage beside its live bytes: as much as those, as is Go's default,
// or up to four times as much while that is below the allowance. The allowance is 128 MiB, or
// an eighth of the memory if that is less.
const (
	percentMin   = 100 // Go's own default
	percentMax   = 400
	allowanceMax = 128 << 20 // bytes
	allowanceOf  = 8         // parts of the memory
)

// A container's memory also holds what is not this process's Go memory: the code, the stacks of
// the system's own threads, the minder and the commands that it runs.
const (
	besidesPart = 10       // of the limit, one part
	besidesMin  = 24 << 20 // bytes, but never more than half of the limit
)

// Tune sets Go's memory limit to what the container leaves, unless GOMEMLIMIT sets it, and from
// then on adapts the garbage collector's percentage after each collection, unless GOGC sets it.
func Tune() { tune() }

// tune is Tune until stop is called.
func tune() (stop func()) {
	before := debug.SetMemoryLimit(-1)
	if os.Getenv("GOMEMLIMIT") == "" {
		if container, err := memlimit.FromCgroup(); err == nil { // else there is no limit
			debug.SetMemoryLimit(limitFor(container))
		}
	}
	if os.Getenv("GOGC") != "" {
		return func() { debug.SetMemoryLimit(before) }
	}
	t := &tuner{
		live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}, percent: percentMin,
		allowance: allowanceFor(debug.SetMemoryLimit(-1)),
	}
	t.collected()
	return func() {
		t.stopped.Store(true)
		debug.SetMemoryLimit(before)
		debug.SetGCPercent(percentMin)
	}
}

// limitFor returns Go's memory limit in a container of this many bytes.
func limitFor(container uint64) int64 {
	if container >= math.MaxInt64 {
		return math.MaxInt64
	}
	n := int64(container)
	return n - min(max(n/besidesPart, besidesMin), n/2)
}

// allowanceFor returns how much garbage a small heap may have under a memory limit.
func allowanceFor(limit int64) uint64 { return min(uint64(max(limit, 0))/allowanceOf, allowanceMax) }

type tuner struct {
	live      []metrics.Sample
	percent   int
	allowance uint64
	stopped   atomic.Bool
}

// A canary is garbage at once: its clean-up runs after the next collection.
type canary struct{ _ *canary }

func (t *tuner) collected() {
	if t.stopped.Load() {
		return
	}
	metrics.Read(t.live)
	// Setting it stops the program for a moment, so small changes are left alone.
	if p := percentFor(t.live[0].Value.Uint64(), t.allowance); p > t.percent+t.percent/8 || p < t.percent-t.percent/8 {
		t.percent = p
		debug.SetGCPercent(p)
	}
	runtime.AddCleanup(new(canary), (*tuner).collected, t)
}

// percentFor returns the percentage for a heap of this many live bytes.
func percentFor(live, allowance uint64) int {
	if live <= allowance/(percentMax/100) {
		return percentMax
	}
	return max(int(100*allowance/live), percentMin)
}
