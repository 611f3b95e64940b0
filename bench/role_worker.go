package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/gc"
)

// A workerSpec says what a worker process runs.
type workerSpec struct {
	Engine      string
	URL         string
	Concurrency int
	InHand      int            // messages in hand; Millhand decides itself
	Queues      map[string]int // to weight
	Types       []string
	Jobs        int                      // their numbers are below this; 0: they are not noted
	Takes       map[string]time.Duration // by type; nothing: 0
	FailOneIn   int                      // one of this many jobs fails its first attempt; 0: none
	Lease       time.Duration            // of Millhand; 0: the default
	Silent      bool                     // Millhand writes no event of a success
	Batch       int                      // jobs of type noop that Millhand handles in one call; 0: one
	Nodes       int                      // workers in the process, each with a connection; at least 1
	Counting    counting                 // of Millhand
}

// startWorker connects, and starts to work when it is told to.
func startWorker(ctx context.Context, spec workerSpec) (methods, func() error, error) {
	gc.Tune() // as cmd/worker does, whatever the engine
	w := &worker{spec: spec}
	if spec.Jobs > 0 {
		w.recorder = newRecorder(spec.Jobs)
	}
	w.ctx, w.cancel = context.WithCancel(ctx)
	for range max(spec.Nodes, 1) {
		nc, err := nats.Connect(spec.URL, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
		if err != nil {
			return nil, nil, err
		}
		e, err := newEngine(spec.Engine, nc)
		if err != nil {
			return nil, nil, err
		}
		w.conns, w.engines = append(w.conns, nc), append(w.engines, e)
	}
	stop := func() error {
		err := w.stop()
		for _, nc := range w.conns {
			nc.Close()
		}
		return err
	}
	return methods{
		"start": func(json.RawMessage) (any, error) { return nil, w.start() },
		"stop":  func(json.RawMessage) (any, error) { return nil, w.stop() },
		"score": method(func(o scoreOptions) (score, error) { return w.recorder.score(o), nil }),
		"await": method(func(jobs int) (any, error) { return nil, w.recorder.await(ctx, jobs) }),
		// Messages that were sent and received.
		"traffic": func(json.RawMessage) (any, error) { return w.traffic(), nil },
	}, stop, nil
}

// A worker is what a worker process runs.
type worker struct {
	spec     workerSpec
	conns    []*nats.Conn
	engines  []engine  // one for each connection
	recorder *recorder // nil: nothing is noted

	ctx    context.Context //nolint:containedctx // the process's, which outlives the call that starts the work
	cancel context.CancelFunc
	work   errgroup.Group
}

func (w *worker) start() error {
	for _, e := range w.engines {
		if err := e.open(w.ctx, slices.Sorted(maps.Keys(w.spec.Queues))); err != nil {
			return err
		}
		w.work.Go(func() error { return e.work(w.ctx, w.spec, w.handle) })
	}
	return nil
}

// stop returns when all that was in hand is done.
func (w *worker) stop() error {
	w.cancel()
	return w.work.Wait()
}

func (w *worker) traffic() (messages uint64) {
	for _, nc := range w.conns {
		s := nc.Stats()
		messages += s.InMsgs + s.OutMsgs
	}
	return messages
}

var errFirstAttempt = errors.New("every now and then a first attempt fails")

func (w *worker) handle(ctx context.Context, j job) error {
	if w.recorder != nil {
		if err := w.recorder.start(j.payload); err != nil {
			return err
		}
	}
	if d := w.spec.Takes[j.typ]; d > 0 {
		if err := pause(ctx, d); err != nil {
			return err
		}
	}
	if w.recorder != nil {
		w.recorder.end()
	}
	if w.spec.FailOneIn == 0 || j.attempt > 1 {
		return nil
	}
	if n, _, err := readPayload(j.payload); err != nil || n%w.spec.FailOneIn == 0 {
		return errors.Join(err, errFirstAttempt)
	}
	return nil
}
