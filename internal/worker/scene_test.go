package worker_test

import (
	"cmp"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/worker"
)

// newWorker returns a worker of the default queue, and fills in what a test does not care for.
func newWorker(t *testing.T, nc *nats.Conn, cfg worker.Config) *worker.Worker {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	cfg.ID = cmp.Or(cfg.ID, "worker-1")
	cfg.Queues = []worker.Queue{{Name: job.DefaultQueue, Weight: 1}}
	cfg.Concurrency = cmp.Or(cfg.Concurrency, 4)
	cfg.MaxAbandoned = cmp.Or(cfg.MaxAbandoned, cfg.Concurrency)
	cfg.DrainTimeout = cmp.Or(cfg.DrainTimeout, 30*time.Second)
	js, err := stream.New(nc, stream.Config{Logger: cfg.Logger})
	if err != nil {
		t.Fatal(err)
	}
	reg := registry.NewStore(js, cfg.Logger)
	store := queue.NewStore(js, queue.Config{Node: cfg.ID, Registry: reg.Bucket(), Logger: cfg.Logger})
	w, err := worker.New(nc, store, reg, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func newClient(t *testing.T, nc *nats.Conn) *millhand.Client {
	t.Helper()
	c, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// handled returns the types of a worker that handles each of them so.
func handled(h worker.Handler, types ...string) map[string]worker.Type {
	all := make(map[string]worker.Type)
	for _, t := range types {
		all[t] = worker.Type{Handler: h}
	}
	return all
}

// idle is a handler with nothing to do.
func idle(context.Context, *queue.Delivery, int) ([]byte, error) { return nil, nil }
