package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand"
)

// millhandEngine uses the public package as any program would.
type millhandEngine struct {
	nc     *nats.Conn
	client *millhand.Client
	name   string
	ids    atomic.Int64 // given so far
}

// atomicJobs is how many jobs EnqueueAtomic takes at a time.
const atomicJobs = 1000

func newMillhandEngine(nc *nats.Conn, name string) (*millhandEngine, error) {
	// On a busy machine the broker answers late, and a bench that fails has measured nothing.
	client, err := millhand.NewClient(nc, millhand.Config{Logger: quiet(), Patience: patience})
	return &millhandEngine{nc: nc, client: client, name: name}, err
}

// options are those of one job.
func (e *millhandEngine) options(queue string) []millhand.EnqueueOption {
	options := []millhand.EnqueueOption{millhand.WithQueue(queue)}
	switch e.name {
	case scheduling:
		options = append(options, millhand.WithDelay(24*time.Hour))
	case keepingIDs:
		options = append(options, millhand.WithUniqueFor(time.Hour))
		fallthrough
	case withIDs:
		options = append(options, millhand.WithID(fmt.Sprintf("job-%d", e.ids.Add(1))))
	}
	return options
}

// open does nothing: the first enqueue and the worker make what they need.
func (*millhandEngine) open(context.Context, []string) error { return nil }

func (e *millhandEngine) enqueue(ctx context.Context, queue, typ string, payload []byte) error {
	_, err := e.client.Enqueue(ctx, millhand.Raw{Name: typ, Payload: payload}, e.options(queue)...)
	return err
}

func (e *millhandEngine) enqueueMany(ctx context.Context, queue, typ string, payloads [][]byte) error {
	batch := make([]millhand.Request, len(payloads))
	for i, p := range payloads {
		batch[i] = millhand.Request{Args: millhand.Raw{Name: typ, Payload: p}, Options: e.options(queue)}
	}
	store := e.client.EnqueueMany
	if e.name == atomically {
		store = e.client.EnqueueAtomic
	}
	_, err := store(ctx, batch)
	return err
}

func (e *millhandEngine) work(ctx context.Context, spec workerSpec, handle func(context.Context, job) error) error {
	mux := millhand.NewMux()
	handle = recounting(spec.Counting.Again, handle)
	if spec.Batch > 0 {
		spec.Types = nil
		handleBatch(mux, spec, handle)
	}
	for _, t := range spec.Types {
		mux.HandleFunc(t, func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			return nil, handle(ctx, job{typ: t, payload: j.Args.Payload, attempt: j.Attempt})
		}, millhand.TypeConfig{SilentSuccess: spec.Silent})
	}
	var queues []millhand.Queue
	for name, weight := range spec.Queues {
		queues = append(queues, millhand.Queue{Name: name, Weight: weight})
	}
	w, err := millhand.NewWorker(e.nc, millhand.WorkerConfig{ //nolint:contextcheck // a worker is not made for one call
		Config: millhand.Config{Logger: quiet()},
		Mux:    mux, Queues: queues, Concurrency: spec.Concurrency, AckWait: spec.Lease, NoStats: spec.Counting.NoStats,
	})
	if err != nil {
		return err
	}
	if !spec.Counting.Scraped {
		return w.Run(ctx)
	}
	var both errgroup.Group
	both.Go(func() error { return scrape(ctx, w.Collector()) })
	both.Go(func() error { return w.Run(ctx) })
	return both.Wait()
}

// noopArgs are the payload of a job that is handled with others, as it is.
type noopArgs struct{ json.RawMessage }

// Type implements [millhand.Args].
func (noopArgs) Type() string { return noop }

// handleBatch has jobs of one type handled many at once.
func handleBatch(mux *millhand.Mux, spec workerSpec, handle func(context.Context, job) error) {
	millhand.HandleBatch(mux, millhand.BatchConfig[noopArgs]{Size: spec.Batch}, func(ctx context.Context, b *millhand.JobBatch[noopArgs]) error {
		for _, j := range b.Jobs {
			b.Fail(j, handle(ctx, job{typ: noop, payload: j.Args.RawMessage, attempt: j.Attempt}))
		}
		return nil
	}, millhand.TypeConfig{SilentSuccess: spec.Silent})
}
