package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A drainPlan says what is enqueued first, and who works it off then.
type drainPlan struct {
	engine  string
	jobs    int
	inHand  int            // of raw
	takes   time.Duration  // of a job
	queues  map[string]int // to weight; the jobs are spread over them; default one
	types   []string       // the jobs are of the first; default one
	quota   int            // of the first type; 0: none
	silent  bool           // Millhand writes no event of a success
	batch   int            // Millhand handles so many jobs in one call, and as many in all as without; 0: one
	workers int            // processes; default 1
	nodes   int            // light workers in each process, of less concurrency; 0: one that is not
	later   int            // jobs of the queue that are there for tomorrow
	beside  bool           // the jobs are enqueued while the workers run

	counting counting
}

func (p drainPlan) withDefaults() drainPlan {
	if p.queues == nil {
		p.queues = map[string]int{defaultQueue: 1}
	}
	if p.types == nil {
		p.types = []string{noop}
	}
	p.workers = max(p.workers, 1)
	return p
}

// startWorkers starts the worker processes, which wait to be told to start.
func (p drainPlan) startWorkers(ctx context.Context, s *testbed, url string) (workers []*process, err error) {
	if p.quota > 0 {
		if err := s.setQuota(ctx, url, p.types[0], p.quota); err != nil {
			return nil, err
		}
	}
	for range p.workers {
		w, err := s.worker(ctx, p.workerSpec(url))
		if err != nil {
			return nil, err
		}
		workers = append(workers, w)
	}
	return workers, nil
}

// slots are how many jobs can run at once on one of its workers.
func (p drainPlan) slots() int {
	switch {
	case p.nodes > 0:
		return nodeConcurrency
	case p.batch > 0:
		return millInHand / p.batch
	}
	return concurrency
}

// idealTime is what the jobs take if every slot always has one.
func (p drainPlan) idealTime() time.Duration {
	return p.takes * time.Duration(p.jobs) / time.Duration(p.slots()*max(p.nodes, 1)*p.workers)
}

func (p drainPlan) workerSpec(url string) workerSpec {
	return workerSpec{
		Engine: p.engine, URL: url, Concurrency: p.slots(), InHand: p.inHand,
		Queues: p.queues, Types: p.types, Jobs: p.jobs, Takes: map[string]time.Duration{p.types[0]: p.takes}, Nodes: p.nodes, Silent: p.silent, Batch: p.batch, Counting: p.counting,
	}
}

// fill enqueues the jobs, in equal parts to each queue. It measures without the first of
// each, which makes the stream.
func (p drainPlan) fill(ctx context.Context, s *testbed, brokers []*process, url string) (sample, error) {
	queues := slices.Sorted(maps.Keys(p.queues))
	caller, err := s.caller(ctx, callerSpec{Engine: p.engine, URL: url, Queues: queues})
	if err != nil {
		return nil, err
	}
	var total time.Duration
	bounds := func(i int) (from, to int) { return p.jobs * i / len(queues), p.jobs * (i + 1) / len(queues) }
	for i, q := range queues {
		from, _ := bounds(i)
		if err := caller.call("enqueue", order{Queue: q, Type: p.types[0], From: from, Jobs: 1, Callers: 1}, nil); err != nil {
			return nil, err
		}
	}
	before, err := usages(brokers)
	if err != nil {
		return nil, err
	}
	for i, q := range queues {
		from, to := bounds(i)
		var took time.Duration
		if err := caller.call("many", order{Queue: q, Type: p.types[0], From: from + 1, Jobs: to - from - 1, AtOnce: manyAtOnce}, &took); err != nil {
			return nil, err
		}
		total += took
	}
	after, err := usages(brokers)
	if err != nil {
		return nil, err
	}
	got := sample{"fill": float64(p.jobs) / total.Seconds()}
	for i := range brokers {
		got["filling"] += p.perJob(after[i].CPU - before[i].CPU)
	}
	return got, s.end(caller, (*process).stop)
}

// perJob returns µs.
func (p drainPlan) perJob(d time.Duration) float64 {
	return float64(d.Microseconds()) / float64(p.jobs)
}

// How a drain is watched.
const (
	pollEvery  = 5 * time.Millisecond // costs the broker about 1 % of a core
	pollSlowly = time.Second / 10     // where jobs take their time
	patience   = time.Minute          // without any progress
)

// awaitEmpty returns when every job of every queue is acknowledged.
func (p drainPlan) awaitEmpty(ctx context.Context, s *testbed, url string) error {
	every := pollEvery
	if p.takes > 0 {
		every = pollSlowly
	}
	for q := range p.queues {
		name, empty := streamOf(p.engine, q)
		stream, err := s.stream(ctx, url, name)
		if err != nil {
			return err
		}
		empty += uint64(p.later)
		if p.engine == keepingIDs {
			// Each job is stored, and then its hold.
			if err := awaitStored(ctx, stream, uint64(2*p.jobs/len(p.queues)), every); err != nil {
				return fmt.Errorf("queue %s: %w", q, err)
			}
			empty += uint64(p.jobs / len(p.queues))
		}
		if err := awaitMessages(ctx, stream, empty, every); err != nil {
			return fmt.Errorf("queue %s: %w", q, err)
		}
	}
	return nil
}

// awaitStored returns when a stream has stored so many messages beside its first one.
func awaitStored(ctx context.Context, stream jetstream.Stream, n uint64, every time.Duration) error {
	for {
		info, err := stream.Info(ctx)
		if err != nil || info.State.LastSeq >= info.State.FirstSeq+n {
			return err
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}

func awaitMessages(ctx context.Context, stream jetstream.Stream, want uint64, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last uint64
	moved := time.Now()
	for {
		info, err := stream.Info(ctx)
		if err != nil {
			return err
		}
		if info.State.Msgs <= want {
			return nil
		}
		if info.State.Msgs != last {
			last, moved = info.State.Msgs, time.Now()
		}
		if time.Since(moved) > patience {
			return fmt.Errorf("%d messages are left and none went for %v", last, patience)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
