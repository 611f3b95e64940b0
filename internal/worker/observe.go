package worker

import (
	"maps"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/tally"
)

// An Observation is what a worker knows of itself in numbers, for metrics. Counters are since its
// start.
type Observation struct {
	Health
	Version     string
	Concurrency int
	Running     map[tally.Pair]int
	SlotsUsed   int // by these
	Counted     tally.Sums
	Settle      *tally.Histogram            // from a handler's end until that is acknowledged
	Requests    map[string]*tally.Histogram // until the broker answered, by what it was asked
	Permits     []slots.PermitUse
	Restarts    map[string]uint64 // of parts of the tree, by the first word of their names
	Connected   bool
	Reconnects  uint64

	RenewalsConfirmed, RenewalsFailed            uint64
	RecordsStored, RecordsResent, RecordsDropped uint64 // of statistics
}

// Observe does no I/O.
func (w *Worker) Observe() *Observation {
	o := &Observation{
		Health: w.Health(), Version: registry.Version(), Concurrency: w.cfg.Concurrency,
		Running: make(map[tally.Pair]int), Counted: w.Counted(), Settle: w.counts.settle.Read(), Requests: w.cfg.Requests.read(), Permits: w.slots.Permits(),
		Connected: w.nc.IsConnected(), Reconnects: w.nc.Stats().Reconnects,
	}
	for _, r := range w.runners {
		for _, running := range r.busy() {
			o.Running[running.Pair]++
			o.SlotsUsed++
		}
	}
	o.SlotsUsed = min(o.SlotsUsed, w.slots.Taken()) // those that one call runs share one
	w.counts.mu.Lock()
	o.Restarts = maps.Clone(w.counts.restarts)
	w.counts.mu.Unlock()
	o.RenewalsConfirmed, o.RenewalsFailed = w.renewer.Renewals()
	if w.recorder != nil {
		o.RecordsStored, o.RecordsResent, o.RecordsDropped = w.recorder.Records()
	}
	return o
}
