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
	w := &worker{spec: spec, engine: e, tally: newTally(spec.Jobs)}
	w.ctx, w.cancel = context.WithCancel(ctx)
	stop := func() error {
		err := w.stop()
		nc.Close()
		return err
	}
	return methods{
		"start": func(json.RawMessage) (any, error) { return nil, w.start() },
		"stop":  func(json.RawMessage) (any, error) { return nil, w.stop() },
		"score": method(func(l look) (score, error) { return w.tally.score(l), nil }),
		"await": method(func(jobs int) (any, error) { return nil, w.tally.await(ctx, jobs) }),
	}, stop, nil
}

// A worker is what a worker process runs.
type worker struct {
	spec   workerSpec
	engine engine
	tally  *tally

	ctx    context.Context //nolint:containedctx // the process's, which outlives the call that starts the work
	cancel context.CancelFunc
	work   sync.WaitGroup
	failed error // why the work ended; to be read after it has
}

func (w *worker) start() error {
	if err := w.engine.open(w.ctx, slices.Sorted(maps.Keys(w.spec.Queues))); err != nil {
		return err
	}
	w.work.Go(func() { w.failed = w.engine.work(w.ctx, w.spec, w.spec.handler(w.tally)) })
	return nil
}

// stop returns when all that was in hand is done.
func (w *worker) stop() error {
	w.cancel()
	w.work.Wait()
	return w.failed
}

func (s workerSpec) handler(t *tally) func(context.Context, job) error {
	return func(ctx context.Context, j job) error {
		if err := t.start(j.payload); err != nil {
			return err
		}
		if s.Takes > 0 {
			if err := pause(ctx, s.Takes); err != nil {
				return err
			}
		}
		t.end()
		return nil
	}
}
