package millhand

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millhand/millhand/internal/metrics"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/view"
	"github.com/millhand/millhand/internal/worker"
)

// A Worker runs jobs. Make it with [NewWorker]: the zero value is not usable.
type Worker struct {
	id     string // unique per start
	js     *stream.Client
	worker *worker.Worker
	ran    atomic.Bool
}

// NewWorker returns a worker over nc, which stays the caller's to close. It returns an
// [*InvalidError] for a configuration that breaks a rule, and for a connection that gives up
// reconnecting or that buffers while it is disconnected: connect with [ConnectOptions].
func NewWorker(nc *nats.Conn, cfg WorkerConfig) (*Worker, error) {
	if err := checkConnection(nc); err != nil {
		return nil, err
	}
	types, err := cfg.check()
	if err != nil {
		return nil, invalid(err)
	}
	cfg = cfg.withDefaults()
	id := cfg.Name + "-" + uuid.NewString()[:8]
	js, err := cfg.jetStream(nc)
	if err != nil {
		return nil, publicError(err)
	}
	reg := registry.NewStore(js, cfg.logger())
	store := queue.NewStore(js, queue.Config{Node: id, AckWait: cfg.AckWait, Registry: reg.Bucket(), Retention: queue.Retention(cfg.Retention), Logger: cfg.logger()})
	internal := cfg.worker(id, types)
	if !cfg.NoStats {
		internal.Stats = stats.NewStore(js, cfg.logger())
		internal.View = view.New(view.Config{Client: js, Store: store, Registry: reg})
	}
	w, err := worker.New(nc, store, reg, internal)
	if err != nil {
		js.Close()
		return nil, invalid(err)
	}
	return &Worker{id: id, js: js, worker: w}, nil
}

// Collector returns the worker's metrics for Prometheus, to be registered once. It asks the broker
// nothing. docs/operations.md describes them.
func (w *Worker) Collector() prometheus.Collector { return metrics.NewWorker(w.worker.Observe) }

// ID is the worker's id, which is unique to each start.
func (w *Worker) ID() string { return w.id }

// Run works until ctx ends and then drains: no new job is pulled, and running ones may finish
// until the drain timeout. The contexts of those that still run then end with [ErrHandedBack], and
// the jobs run again elsewhere, with no attempt counted. Run waits for the broker however long it
// is away. It returns
//
//   - nil after a clean drain,
//   - [ErrDrainTimeout] if jobs were handed back,
//   - [ErrAbandoned] if too many handlers ignored the end of their context,
//   - [ErrInvalid] if it was called before: a worker runs once,
//   - another error if the worker cannot go on, or if the broker did not take the ends of jobs.
func (w *Worker) Run(ctx context.Context) error {
	if w.ran.Swap(true) {
		return &InvalidError{What: "the worker", Rule: "has run, and a worker runs once: make a new one"}
	}
	defer w.js.Close()
	err := w.worker.Run(ctx)
	if errors.Is(err, ErrDrainTimeout) || errors.Is(err, ErrAbandoned) {
		return err
	}
	return publicError(err)
}

// StopNow ends a drain early: running handlers are cancelled now and their jobs handed back.
func (w *Worker) StopNow() { w.worker.StopNow() }
