package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Names of the queue and the type of a plain work.
const (
	defaultQueue = "default"
	noop         = "noop"
)

func drainWork(o options) work {
	plan := func(engine string, inHand int) contestant {
		return contestant{engine, drain(drainPlan{engine: engine, jobs: o.jobs, inHand: inHand})}
	}
	alike := plan(raw, millInHand)
	alike.name = rawAlike
	rate := row{
		title: fmt.Sprintf("drain %s no-op jobs, concurrency 100, one worker", thousands(float64(o.jobs), 0)), measure: "rate", unit: "jobs/s",
		of: mill, against: raw, beside: rawAlike, budget: budget{atLeast: 0.40},
	}
	quietRate := rate
	quietRate.title, quietRate.of, quietRate.budget = "the same with events off", millNoEvents, budget{atLeast: 0.65}
	cost := func(title, measure, unit string, atMost float64) row {
		return row{title: title, measure: measure, unit: unit, digits: 1, of: mill, beside: raw, budget: budget{atMost: atMost}}
	}
	return work{
		name: "drain", about: "a backlog of no-op jobs, with what each costs",
		contestants: []contestant{plan(mill, 0), plan(raw, rawInHand), alike},
		rows: []row{
			rate, quietRate,
			cost("CPU of the worker", "worker", "µs/job", 25),
			cost("CPU of the broker", "broker", "µs/job", 25),
			cost("allocations of the worker", "mallocs", "per job", 30),
		},
	}
}

// A drainPlan says what is enqueued first, and who works it off then.
type drainPlan struct {
	engine  string
	jobs    int
	inHand  int            // of raw
	takes   time.Duration  // of a job
	queues  map[string]int // to weight; the jobs are spread over them; default one
	types   []string       // the jobs are of the first; default one
	workers int            // processes; default 1
	nodes   int            // light workers in each process, of less concurrency; 0: one that is not
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

// drain enqueues all jobs and measures how they are worked off.
func drain(plan drainPlan) func(context.Context, *site) (sample, error) {
	plan = plan.withDefaults()
	return func(ctx context.Context, s *site) (sample, error) {
		broker, url, err := s.broker(ctx)
		if err != nil {
			return nil, err
		}
		return plan.run(ctx, s, []*process{broker}, url)
	}
}

func (p drainPlan) run(ctx context.Context, s *site, brokers []*process, url string) (sample, error) {
	filling, err := p.fill(ctx, s, url)
	if err != nil {
		return nil, err
	}
	var workers []*process
	for range p.workers {
		w, err := s.worker(ctx, p.workerSpec(url))
		if err != nil {
			return nil, err
		}
		workers = append(workers, w)
	}
	before, err := usages(slices.Concat(workers, brokers))
	if err != nil {
		return nil, err
	}
	for _, w := range workers {
		if err := w.call("start", nil, nil); err != nil {
			return nil, err
		}
	}
	if err := p.awaitEmpty(ctx, s, url); err != nil {
		return nil, err
	}
	empty := time.Now()
	after, err := usages(slices.Concat(workers, brokers))
	if err != nil {
		return nil, err
	}
	scores, err := scoresOf(workers, look{})
	if err != nil {
		return nil, err
	}
	if err := checkAll(p.jobs, scores); err != nil {
		return nil, err
	}
	got := sample{"rate": float64(p.jobs) / empty.Sub(firstStart(scores)).Seconds(), "least": leastShare(scores), "fill": float64(p.jobs) / filling.Seconds()}
	if p.takes > 0 {
		ideal := p.takes.Seconds() * float64(p.jobs) / float64(concurrency*p.workers)
		got["ideal"] = ideal / lastEnd(scores).Sub(firstStart(scores)).Seconds()
	}
	perJob := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(p.jobs) }
	for i := range workers {
		got["worker"] += perJob(after[i].CPU - before[i].CPU)
		got["mallocs"] += float64(after[i].Mallocs-before[i].Mallocs) / float64(p.jobs)
	}
	for i := len(workers); i < len(after); i++ {
		got["broker"] += perJob(after[i].CPU - before[i].CPU)
	}
	return got, nil
}

func (p drainPlan) workerSpec(url string) workerSpec {
	slots := concurrency
	if p.nodes > 0 {
		slots = nodeConcurrency
	}
	return workerSpec{
		Engine: p.engine, URL: url, Concurrency: slots, InHand: p.inHand,
		Queues: p.queues, Types: p.types, Jobs: p.jobs, Takes: map[string]time.Duration{p.types[0]: p.takes}, Nodes: p.nodes,
	}
}

// fill enqueues the jobs, in equal parts to each queue, and returns how long it took
// without the first of each, which makes the stream.
func (p drainPlan) fill(ctx context.Context, s *site, url string) (total time.Duration, err error) {
	queues := slices.Sorted(maps.Keys(p.queues))
	caller, err := s.caller(ctx, callerSpec{Engine: p.engine, URL: url, Queues: queues})
	if err != nil {
		return 0, err
	}
	from := 0
	for i, q := range queues {
		to := p.jobs * (i + 1) / len(queues)
		if err := caller.call("enqueue", order{Queue: q, Type: p.types[0], From: from, Jobs: 1, Callers: 1}, nil); err != nil {
			return 0, err
		}
		var took time.Duration
		if err := caller.call("many", order{Queue: q, Type: p.types[0], From: from + 1, Jobs: to - from - 1, AtOnce: manyAtOnce}, &took); err != nil {
			return 0, err
		}
		from, total = to, total+took
	}
	return total, s.end(caller, (*process).stop)
}

// How a drain is watched.
const (
	lookEvery = 5 * time.Millisecond
	patience  = time.Minute // without any progress
)

// awaitEmpty returns when every job of every queue is acknowledged.
func (p drainPlan) awaitEmpty(ctx context.Context, s *site, url string) error {
	for q := range p.queues {
		name, empty := streamOf(p.engine, q)
		stream, err := s.stream(ctx, url, name)
		if err != nil {
			return err
		}
		if err := awaitMessages(ctx, stream, empty); err != nil {
			return fmt.Errorf("queue %s: %w", q, err)
		}
	}
	return nil
}

func awaitMessages(ctx context.Context, stream jetstream.Stream, want uint64) error {
	tick := time.NewTicker(lookEvery)
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

func usages(processes []*process) ([]usage, error) {
	all := make([]usage, len(processes))
	var errs []error
	for i, p := range processes {
		var err error
		all[i], err = p.usage(false)
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

func scoresOf(workers []*process, l look) ([]score, error) {
	all := make([]score, len(workers))
	var errs []error
	for i, w := range workers {
		errs = append(errs, w.call("score", l, &all[i]))
	}
	return all, errors.Join(errs...)
}
