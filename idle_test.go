package millhand_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// blockBuffer is what the broker keeps at hand or gives back.
const blockBuffer = 4 << 20

// An idle worker has as many goroutines and as much memory after a quarter of an hour as after minutes.
func TestIdleWorkerDoesNotGrow(t *testing.T) {
	if testing.Short() {
		t.Skip("measures memory, for which a quarter of an hour passes")
	}
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		for i := range 20 {
			mux.HandleFunc(fmt.Sprintf("type%d", i), func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		}
		c := client(t, s.Connect(t))
		if err := c.SetQuota(t.Context(), millhand.Quota{Type: "type0", Limit: 5}); err != nil {
			t.Fatal(err)
		}
		if err := c.SetQuota(t.Context(), millhand.Quota{Type: "type1", Limit: 5, Per: time.Minute}); err != nil {
			t.Fatal(err)
		}
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		// The broker, which is in the same process, has blocks of its store at hand for a while: the least of some looks counts.
		measure := func() (heap, goroutines int) {
			heap = math.MaxInt
			for range 5 {
				time.Sleep(20 * time.Second)
				runtime.GC()
				runtime.GC() // the first one frees what finalizers hold
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				heap, goroutines = min(heap, int(m.HeapAlloc)), runtime.NumGoroutine()
			}
			return heap, goroutines
		}
		time.Sleep(2 * time.Minute)
		heap, goroutines := measure()
		time.Sleep(10 * time.Minute)
		laterHeap, laterGoroutines := measure()
		t.Logf("heap %d and then %d bytes, goroutines %d and then %d", heap, laterHeap, goroutines, laterGoroutines)
		if grown := laterHeap - heap; grown > blockBuffer+1<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
		if grown := laterGoroutines - goroutines; grown > 2 { // some come and go
			t.Errorf("%d goroutines more", grown)
		}
	})
}
