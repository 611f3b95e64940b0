package integration

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

// Three workers publish the ticks of an entry, and are killed and frozen while they do. The ticks'
// jobs run in a worker to which nothing happens, which notes what comes: each tick, once.
func TestEachTickRunsOnceWhileWorkersAreKilled(t *testing.T) {
	t.Parallel()
	broker := startBroker(t)
	var mu sync.Mutex
	runs := make(map[time.Time]int)
	mux := millhand.NewMux()
	mux.HandleFunc("tick", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		runs[j.Tick.UTC()]++
		return nil, nil
	}, millhand.TypeConfig{})
	runWorker(t, broker.URL, millhand.WorkerConfig{Mux: mux})

	file := writeFile(t, "cron.yaml", `
types: {other: {exec: ["true"]}}
cron:
  often: {schedule: "@every 1s", type: tick, overlap: allow, catch_up: all}
`)
	hire := func() *process { return launchWorker(t, "-s", broker.URL, "-f", file) }
	workers := []*process{hire(), hire(), hire()}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(runs) }
	until(t, "a first tick", func() bool { return count() > 0 })
	for range 12 {
		i := rand.IntN(len(workers))
		if rand.IntN(2) == 0 {
			workers[i].kill(t)
			workers[i] = hire()
			pause(time.Duration(rand.IntN(500)) * time.Millisecond)
			continue
		}
		workers[i].freeze(t)
		pause(time.Duration(rand.IntN(1500)) * time.Millisecond)
		workers[i].thaw(t)
	}
	seen := count()
	until(t, "three more ticks, and none left out", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(runs) >= seen+3 && len(runs) == spanned(runs)
	})
	mu.Lock()
	defer mu.Unlock()
	for tick, n := range runs {
		if n != 1 {
			t.Errorf("the tick of %v ran %d times", tick, n)
		}
	}
}

// spanned is how many ticks there are from the first to the last.
func spanned(runs map[time.Time]int) int {
	ticks := slices.SortedFunc(maps.Keys(runs), time.Time.Compare)
	return int(ticks[len(ticks)-1].Sub(ticks[0])/time.Second) + 1
}
