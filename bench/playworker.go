package main

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A workerSpec says what a worker process runs.
type workerSpec struct {
	Engine      string
	URL         string
	Concurrency int
	InHand      int            // messages in hand; Millhand decides itself
	Queues      map[string]int // to weight
	Types       []string
	Jobs        int           // their numbers are below this
	Takes       time.Duration // of a job; 0: nothing is done
}

// playWorker connects, and starts to work when it is told to.
func playWorker(ctx context.Context, spec workerSpec) (methods, func() error, error) {
	nc, err := nats.Connect(spec.URL, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		return nil, nil, err
	}
	e, err := newEngine(spec.Engine, nc)
	if err != nil {
		return nil, nil, err
	}
	t := newTally(spec.Jobs)
	var failed error
	var wg sync.WaitGroup
	start := func(json.RawMessage) (any, error) {
		if err := e.open(ctx, slices.Sorted(maps.Keys(spec.Queues))); err != nil {
			return nil, err
		}
		wg.Go(func() { failed = e.work(ctx, spec, spec.handler(t)) })
		return nil, nil //nolint:nilnil // there is nothing to tell
	}
	stop := func() error {
		wg.Wait()
		nc.Close()
		return failed
	}
	return methods{
		"start": start,
		"score": method(func(mark int) (score, error) { return t.score(mark), nil }),
		"count": func(json.RawMessage) (any, error) { return t.handled.Load(), nil },
	}, stop, nil
}

func (s workerSpec) handler(t *tally) func(context.Context, job) error {
	return func(ctx context.Context, j job) error {
		if err := t.start(j.payload); err != nil {
			return err
		}
		if s.Takes > 0 {
			timer := time.NewTimer(s.Takes)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		t.end()
		return nil
	}
}
