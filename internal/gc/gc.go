// Package gc has a process collect its garbage less often while its heap is small, and more
// often when its memory is about to run out.
//
// Go collects when the heap has doubled. A worker keeps a few megabytes and makes hundreds
// of them per second, so it would do so dozens of times a second, for nothing; and the
// embedded broker's heap is small until very many jobs wait. In a container, Go knows nothing
// of the limit that has the process killed.
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

// What a heap may hold beyond what lives: as much again as ever, but up to four times as
// much as long as that is not more than the allowance: 128 MiB, or an eighth of the memory
// there is.
const (
	percentMin   = 100 // Go's own default
	percentMax   = 400
	allowanceMax = 128 << 20 // bytes
	allowanceOf  = 8         // parts of the memory
)

// What a container's memory holds beside this process's Go memory: the code, the stacks of the
// system's own threads, the minder and the commands that it runs.
const (
	besidesPart = 10       // of the limit, one part
	besidesMin  = 24 << 20 // bytes, but never more than half of the limit
)

// Tune sets Go's memory limit to what the container leaves, unless GOMEMLIMIT says another, and
// adapts the garbage collector's percentage after each collection, until stop is called. GOGC in
// the environment keeps the percentage as it is.
func Tune() (stop func()) {
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

// limitFor returns Go's memory limit in a container of so many bytes.
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

// A canary is garbage at once: its clean-up tells of the next collection.
type canary struct{ _ *canary }

func (t *tuner) collected() {
	if t.stopped.Load() {
		return
	}
	metrics.Read(t.live)
	// To set it stops the program for a moment, so small changes are let be.
	if p := percentFor(t.live[0].Value.Uint64(), t.allowance); p > t.percent+t.percent/8 || p < t.percent-t.percent/8 {
		t.percent = p
		debug.SetGCPercent(p)
	}
	runtime.AddCleanup(new(canary), (*tuner).collected, t)
}

// percentFor returns the percentage for a heap of so many live bytes.
func percentFor(live, allowance uint64) int {
	if live <= allowance/(percentMax/100) {
		return percentMax
	}
	return max(int(100*allowance/live), percentMin)
}
