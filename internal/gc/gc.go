// Package gc has a process collect its garbage less often while its heap is small.
//
// Go collects when the heap has doubled. A worker keeps a few megabytes and makes hundreds
// of them per second, so it would do so dozens of times a second, for nothing; and the
// embedded broker's heap is small until very many jobs wait.
package gc

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// What a heap may hold beyond what lives: as much again as ever, but up to four times as
// much as long as that is not more than 128 MiB.
const (
	percentMin = 100 // Go's own default
	percentMax = 400
	allowance  = 128 << 20 // bytes
)

// Tune adapts the garbage collector's percentage after each collection, until stop is
// called. It leaves everything as it is if the environment has GOGC or GOMEMLIMIT.
func Tune() (stop func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	t := &tuner{live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}, percent: percentMin}
	t.collected()
	return func() {
		t.stopped.Store(true)
		debug.SetGCPercent(percentMin)
	}
}

type tuner struct {
	live    []metrics.Sample
	percent int
	stopped atomic.Bool
}

// A canary is garbage at once: its clean-up tells of the next collection.
type canary struct{ _ *canary }

func (t *tuner) collected() {
	if t.stopped.Load() {
		return
	}
	metrics.Read(t.live)
	// To set it stops the program for a moment, so small changes are let be.
	if p := percentFor(t.live[0].Value.Uint64()); p > t.percent+t.percent/8 || p < t.percent-t.percent/8 {
		t.percent = p
		debug.SetGCPercent(p)
	}
	runtime.AddCleanup(new(canary), (*tuner).collected, t)
}

// percentFor returns the percentage for a heap of so many live bytes.
func percentFor(live uint64) int {
	if live <= allowance/(percentMax/100) {
		return percentMax
	}
	return max(int(100*allowance/live), percentMin)
}
