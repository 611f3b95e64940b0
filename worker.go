package millhand

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millhand/millhand/internal/arrival"
	"github.com/millhand/millhand/internal/metrics"
	"github.com/millhand/millhand/internal/notify"
	"github.com/millhand/millhand/internal/problem"
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
	return newWorker(nc, cfg, func(*worker.Config) {})
}

// newWorker is [NewWorker] with what complete adds to what the worker itself knows.
func newWorker(nc *nats.Conn, cfg WorkerConfig, complete func(*worker.Config)) (*Worker, error) {
	if err := checkConnection(nc); err != nil {
		return nil, err
	}
	types, err := cfg.check()
	if err != nil {
		return nil, invalid(err)
	}
	cfg = cfg.withDefaults()
	id := cfg.Name + "-" + uuid.NewString()[:8]
	requests := new(worker.Requests)
	js, err := cfg.jetStream(nc, requests.Wrote)
	if err != nil {
		return nil, publicError(err)
	}
	reg := registry.NewStore(js, cfg.logger())
	store := queue.NewStore(js, queue.Config{Node: id, AckWait: cfg.AckWait, Registry: reg.Bucket(), Retention: queue.Retention(cfg.Retention), Logger: cfg.logger()})
	internal := cfg.worker(id, types)
	internal.Requests = requests
	if !cfg.NoStats {
		internal.Stats = stats.NewStore(js, cfg.logger())
		internal.View = view.New(view.Config{Client: js, Store: store, Registry: reg})
		internal.Problems = problem.NewLooker(js, internal.View, internal.Stats, cfg.Objectives)
		if cfg.Notify.URL != "" {
			internal.Notify = notify.New(notify.Config{URL: cfg.Notify.URL, Namespace: js.Namespace(), Worker: id, Logger: cfg.logger()})
			internal.NotifyLeast = problem.Level(cmp.Or(cfg.Notify.Min, string(problem.Error)))
		}
	}
	internal.Workflows = arrival.New(js, store, reg, cfg.logger())
	complete(&internal)
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
//   - [ErrInvalid] if it was called before, since a worker runs once, or if there are as many entries of
//     schedules as there may be, and one of its own is not among them,
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
