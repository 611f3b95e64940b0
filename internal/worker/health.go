package worker

import (
	"context"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/supervisor"
)

// The states of a worker.
const (
	Starting = "starting"
	Working  = registry.Working
	Draining = registry.Draining
	Stopped  = "stopped"
)

// Health is what a worker says of itself. The public package describes its fields.
type Health struct {
	State          string
	InHand         int
	Abandoned      int
	Unsettled      int
	UnsettledBytes int64
	Refused        *queue.Refused
	Rebuilt        int
	Oldest         *queue.Delivery // the job that runs for longest, nil if none runs
	WaitsFor       string
	Registry       []string
	HistorySince   time.Time     // zero: longer than an hour ago
	ClockOffset    time.Duration // how far this machine's clock is ahead of the broker's
	Tree           supervisor.Node
}

// Health describes the worker as it is now. It does not block.
func (w *Worker) Health() Health {
	h := Health{
		State: Working, InHand: w.slots.InHand(), Rebuilt: w.store.Rebuilt(),
		Abandoned: int(max(w.abandoned.Load(), 0)), // one that comes back as it is given up may be uncounted first
		Refused:   w.settler.Refused(), Oldest: w.oldest(), Registry: w.agent.Troubles(), Tree: w.tree.Tree(),
		HistorySince: w.store.HistorySince(), ClockOffset: w.store.ClockOffset(),
	}
	waits := w.waits.Load()
	if waits != nil {
		h.WaitsFor = *waits
	}
	h.Unsettled, h.UnsettledBytes = w.settler.Unsettled()
	switch {
	case h.Tree.State == supervisor.StateStarting, waits != nil && !w.slots.Closed():
		h.State = Starting
	case h.Tree.State != supervisor.StateRunning:
		h.State = Stopped
	case w.slots.Closed():
		h.State = Draining
	}
	return h
}

// oldest returns the job that runs for longest, nil if none runs.
func (w *Worker) oldest() *queue.Delivery {
	var first *queue.Delivery
	for _, r := range w.runners {
		r.mu.Lock()
		for a := range r.running {
			if first == nil || a.held.StartedAt().Before(first.StartedAt()) {
				first = a.held
			}
		}
		r.mu.Unlock()
	}
	return first
}

// How long an answer of [Worker.Ready] holds, so that it costs little to ask often.
const (
	readyFor    = 3 * time.Second
	notReadyFor = time.Second
)

// readiness is the answer that was found last.
type readiness struct {
	mu    sync.Mutex
	until time.Time
	err   error
}

// Ready returns an error while the broker does not store a job of this worker's queues or
// its end. It finds out by storing something in each of their streams, and removing it; the
// answer holds for up to three seconds.
func (w *Worker) Ready(ctx context.Context) error {
	if err := w.watch.Err(); err != nil {
		return err
	}
	r := &w.ready
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.until) {
		return r.err
	}
	// Whoever asks next is told the same, so it must not hang on how long this one waits.
	r.err = w.watch.Probe(context.WithoutCancel(ctx))
	holds := readyFor
	if r.err != nil {
		holds = notReadyFor
	}
	r.until = time.Now().Add(holds)
	return r.err
}
