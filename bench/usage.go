package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is what a process has used since it started, or holds now.
type usage struct {
	CPU        time.Duration // user and system
	Mallocs    uint64
	Heap       uint64 // bytes in use
	RSS        uint64 // bytes; 0 where the system does not tell
	Goroutines int
}

func usageNow(collect bool) (usage, error) {
	if collect {
		runtime.GC()
		runtime.GC() // the first one leaves behind what pools held
	}
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return usage{}, err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{
		CPU:     time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		Mallocs: m.Mallocs, Heap: m.HeapAlloc, RSS: rss(), Goroutines: runtime.NumGoroutine(),
	}, nil
}

// rss reads what Linux says of this process; see proc(5).
func rss() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
