package worker

import (
	"math"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/registry"
)

// A noticed is what a worker has noticed of itself when it said last what it is and runs.
type noticed struct {
	mu        sync.Mutex
	draining  time.Time // since when; zero: it is not
	rebuilt   int       // subscriptions, so far
	rebuiltAt time.Time // when there was one more; zero: there was none
}

// tell fills in what an operator is to know of a worker.
func (seen *noticed) tell(w *Worker, n *registry.Node) {
	ahead := w.store.ClockOffset()
	now := time.Now().Add(-ahead).UTC()
	rebuilt := w.store.Rebuilt()
	seen.mu.Lock()
	defer seen.mu.Unlock()
	switch {
	case n.State != Draining:
		seen.draining = time.Time{}
	case seen.draining.IsZero():
		seen.draining = now
	}
	if rebuilt > seen.rebuilt {
		seen.rebuilt, seen.rebuiltAt = rebuilt, now
	}
	n.DrainingSince, n.Rebuilt = seen.draining, seen.rebuiltAt
	n.DrainTimeout = max(w.cfg.DrainTimeout, 0).Seconds()
	n.ClockAhead = math.Round(ahead.Seconds()*10) / 10 // it is not known any better
	n.Stuck, n.NoStats = int(max(w.abandoned.Load(), 0)), w.cfg.Stats == nil
	for queue, d := range w.cfg.Objectives {
		if n.Objectives == nil {
			n.Objectives = make(map[string]float64, len(w.cfg.Objectives))
		}
		n.Objectives[queue] = d.Seconds()
	}
	for _, q := range w.cfg.Queues {
		if q.Concurrency > 0 {
			if n.QueueSlotsFree == nil {
				n.QueueSlotsFree = make(map[string]int)
			}
			n.QueueSlotsFree[q.Name] = w.slots.Free(q.Name)
		}
	}
}
