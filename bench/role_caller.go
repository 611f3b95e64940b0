package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// A callerSpec says through what a process enqueues.
type callerSpec struct {
	Engine string
	URL    string
	Queues []string
}

// An order asks for jobs with the numbers From … From+Jobs-1.
type order struct {
	Queue, Type string
	From, Jobs  int
	Callers     int     // of one job at a time; at least 1
	Rate        float64 // jobs per second; 0: as fast as possible
	AtOnce      int     // of many
}

// manyAtOnce is the size of the batches where nothing else is said.
const manyAtOnce = 5000

type caller struct {
	ctx    context.Context //nolint:containedctx // the process's: its end ends every call
	engine engine
}

func startCaller(ctx context.Context, spec callerSpec) (methods, func() error, error) {
	nc, err := nats.Connect(spec.URL)
	if err != nil {
		return nil, nil, err
	}
	e, err := newEngine(spec.Engine, nc)
	if err == nil {
		err = e.open(ctx, spec.Queues)
	}
	if err != nil {
		return nil, nil, err
	}
	c := &caller{ctx: ctx, engine: e}
	stop := func() error { nc.Close(); return nil }
	return methods{"enqueue": method(c.enqueue), "many": method(c.many)}, stop, nil
}

// enqueue enqueues one by one, and returns how long it took.
func (c *caller) enqueue(o order) (time.Duration, error) {
	start := time.Now()
	var next atomic.Int64
	errs := make([]error, o.Callers)
	var wg sync.WaitGroup
	for i := range o.Callers {
		wg.Go(func() {
			for n := int(next.Add(1)) - 1; n < o.Jobs && errs[i] == nil; n = int(next.Add(1)) - 1 {
				if errs[i] = o.wait(c.ctx, start, n); errs[i] == nil {
					errs[i] = c.engine.enqueue(c.ctx, o.Queue, o.Type, newPayload(o.From+n, time.Now()))
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start), errors.Join(errs...)
}

// wait waits until job n is due.
func (o order) wait(ctx context.Context, start time.Time, n int) error {
	if o.Rate == 0 {
		return nil
	}
	due := start.Add(time.Duration(float64(n) / o.Rate * float64(time.Second)))
	return pause(ctx, time.Until(due))
}

// many enqueues in batches, and returns how long it took.
func (c *caller) many(o order) (time.Duration, error) {
	start := time.Now()
	for from := 0; from < o.Jobs; from += o.AtOnce {
		payloads := make([][]byte, min(o.AtOnce, o.Jobs-from))
		for i := range payloads {
			payloads[i] = newPayload(o.From+from+i, start)
		}
		if err := c.engine.enqueueMany(c.ctx, o.Queue, o.Type, payloads); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}
