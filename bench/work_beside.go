package main

import (
	"context"
	"slices"
	"time"
)

// besideWork is what a worker costs the broker that has nothing to do while many jobs wait in its queue.
func besideWork(o options) work {
	const nothing = "nothing waiting"
	many := thousands(float64(o.million), 0)
	scheduledMany, ready, mixed := many+" scheduled", many+" ready for others", "one scheduled before "+many+" ready"
	rest, window := dedupWindow+time.Second, 2*time.Minute+5*time.Second // a sweep is once a minute
	if o.quick {
		rest, window = 0, time.Second
	}
	b := beside{rest: rest, window: window}
	line := func(of string) row {
		return row{title: "idle worker beside " + of + ", CPU of the broker", measure: "broker", unit: "% of a core", digits: 2, of: of, beside: nothing, budget: budget{atMost: 2}}
	}
	return work{
		name: "beside", about: "a worker with nothing to do beside many jobs that wait",
		contestants: []contestant{
			{nothing, b.run},
			{scheduledMany, b.with(o.million, scheduling).run},
			{ready, b.with(o.million, mill).run},
			{mixed, b.with(1, scheduling).with(o.million, mill).run},
		},
		rows: []row{line(scheduledMany), line(ready), line(mixed)},
	}
}

// beside is what waits, in the order in which it is enqueued.
type beside struct {
	waiting      []waiting
	rest, window time.Duration
}

type waiting struct {
	jobs   int
	engine string
}

func (b beside) with(jobs int, engine string) beside {
	b.waiting = append(slices.Clip(b.waiting), waiting{jobs, engine})
	return b
}

// unhandled is a type that the worker has no handler for.
const unhandled = "other"

func (b beside) run(ctx context.Context, s *testbed) (sample, error) {
	broker, url, err := s.broker(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range b.waiting {
		caller, err := s.caller(ctx, callerSpec{Engine: w.engine, URL: url, Queues: []string{defaultQueue}})
		if err != nil {
			return nil, err
		}
		o := order{Queue: defaultQueue, Type: unhandled, Jobs: w.jobs, AtOnce: manyAtOnce}
		if err := caller.call("many", o, nil); err != nil {
			return nil, err
		}
		if err := s.end(caller, (*process).stop); err != nil {
			return nil, err
		}
	}
	if err := pause(ctx, b.rest); err != nil {
		return nil, err
	}
	w, err := s.worker(ctx, drainPlan{engine: mill}.withDefaults().workerSpec(url))
	if err != nil {
		return nil, err
	}
	before, err := broker.usage(false)
	if err != nil {
		return nil, err
	}
	if err := w.call("start", nil, nil); err != nil {
		return nil, err
	}
	if err := pause(ctx, b.window); err != nil {
		return nil, err
	}
	after, err := broker.usage(false)
	if err != nil {
		return nil, err
	}
	return sample{"broker": 100 * (after.CPU - before.CPU).Seconds() / b.window.Seconds()}, nil
}
