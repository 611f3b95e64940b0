package natstest

import (
	"flag"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// waitingTests is how many tests run at once that mostly wait.
const waitingTests = 8

// Waiting are the tests of a package whose parallel ones mostly wait for processes and timeouts. It
// runs more of them at once than there are processors, unless -parallel says how many, or the race
// detector has them compute.
type Waiting struct{ *testing.M }

// Run runs the tests and returns the exit code.
func (w Waiting) Run() int {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) && !UnderRace() {
		_ = flag.Set(f.Name, strconv.Itoa(waitingTests)) // the flag takes any number
	}
	defer aside.Wait()
	return w.M.Run()
}

var aside sync.WaitGroup //nolint:gochecknoglobals // of the process

// Aside runs what ends a test beside those that follow. The next bubble waits for it, and so does
// [Waiting.Run].
func Aside(f func()) { aside.Go(f) }

// UnderRace reports whether the tests run with the race detector.
func UnderRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool {
		return s.Key == "-race" && s.Value == "true"
	})
}
