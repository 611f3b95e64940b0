package worker

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/supervisor"
	"github.com/millhand/millhand/internal/tally"
)

// counts are what a worker counts of its jobs, for statistics and metrics alike. They are the
// settler's [queue.Counter] for what is read and written, and the runners count what runs.
type counts struct {
	*tally.Book
	settle tally.Timer  // from a handler's end until that is acknowledged
	ahead  atomic.Int64 // how far this machine's clock is ahead of the broker's, in nanoseconds

	mu       sync.Mutex
	restarts map[string]uint64 // of parts of the tree, by the first word of their names
}

func newCounts() *counts { return &counts{Book: tally.NewBook(), restarts: make(map[string]uint64)} }

// of returns the counters of a job's queue and type.
func (c *counts) of(h *queue.Delivery) *tally.Live { return c.Of(h.Queue, h.Type) }

// waited is how long a job was ready, by the broker's clock, until its handler's call.
func (c *counts) waited(h *queue.Delivery) time.Duration {
	return h.StartedAt().Sub(h.Stored()) - time.Duration(c.ahead.Load())
}

// settled counts how long it took to acknowledge a job after its handler's end.
func (c *counts) settled(h *queue.Delivery) {
	if d, ok := h.SinceFinished(); ok {
		c.settle.Observe(d)
	}
}

// restarted counts restarts of parts of the tree. Those that have a queue or a type in their names
// are counted together.
func (c *counts) restarted(e supervisor.Event) {
	if e.Kind != supervisor.ChildRestarting {
		return
	}
	part, _, _ := strings.Cut(e.Child, " ")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restarts[part]++
}

// Fired implements [queue.Counter].
func (c *counts) Fired(h *queue.Delivery) {
	var late time.Duration
	if !h.Due.IsZero() {
		late = h.Stored().Sub(h.Due)
	}
	c.of(h).Fired(late)
}

// Redelivered implements [queue.Counter].
func (c *counts) Redelivered(h *queue.Delivery) { c.of(h).Inc(tally.Redelivered) }

// Ended implements [queue.Counter].
func (c *counts) Ended(h *queue.Delivery, o *queue.Outcome) { c.of(h).Ended(o.Kind, o.Reason) }

// PutBack implements [queue.Counter].
func (c *counts) PutBack(h *queue.Delivery, delay time.Duration) {
	c.of(h).Followed(time.Now(), delay)
}

// Counted returns what the worker counted since it started, by queue and type. It does no I/O.
func (w *Worker) Counted() tally.Sums {
	w.counts.ahead.Store(int64(w.store.ClockOffset()))
	var running []tally.Running
	for _, r := range w.runners {
		running = append(running, r.busy()...)
	}
	return w.counts.Read(time.Now(), running)
}

// busy returns what runs, and since when.
func (r *runner) busy() (running []tally.Running) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := range r.running {
		if since := a.held.StartedAt(); !since.IsZero() && !a.ended {
			run := tally.Running{Pair: tally.Pair{Queue: a.held.Queue, Type: a.held.Type}, Since: since}
			if a.together != nil {
				run.Jobs = len(a.together.attempts)
			}
			running = append(running, run)
		}
	}
	return running
}
