package main

import (
	"context"
	"errors"
	"time"
)

func scheduledWork(o options) work {
	none, many := "none scheduled", thousands(float64(o.million), 0)+" scheduled"
	beside := func(title, measure string, atLeast float64) row {
		return row{title: title + " beside " + many, measure: measure, unit: "jobs/s", of: many, against: none, budget: budget{atLeast: atLeast}}
	}
	return work{
		name: "scheduled", about: "many jobs for tomorrow: speed beside them, memory, a restart",
		contestants: []contestant{
			{none, scheduled{jobs: o.jobs}.run},
			{many, scheduled{later: o.million, jobs: o.jobs}.run},
		},
		rows: []row{
			beside("drain", "rate", 0.90),
			beside("enqueue, 32 callers,", "enqueue", 0.90),
			{title: "broker's memory for jobs for tomorrow", measure: "heap", unit: "B of heap/job", of: many, budget: budget{atMost: 600}},
			{title: "restart of broker and worker, first job with " + many, measure: "both", unit: "s", digits: 2, of: many, beside: none},
		},
	}
}

// scheduled is how fast jobs come and go while others wait for tomorrow in the same queue.
type scheduled struct{ later, jobs int }

func (w scheduled) run(ctx context.Context, s *testbed) (sample, error) {
	broker, url, err := s.broker(ctx)
	if err != nil {
		return nil, err
	}
	empty, err := broker.usage(true)
	if err != nil {
		return nil, err
	}
	if err := w.schedule(ctx, s, url); err != nil {
		return nil, err
	}
	full, err := broker.usage(true)
	if err != nil {
		return nil, err
	}
	plan := drainPlan{engine: mill, jobs: w.jobs, later: w.later}.withDefaults()
	got, err := plan.run(ctx, s, []*process{broker}, url)
	if err != nil {
		return nil, err
	}
	got["heap"] = (float64(full.Heap) - float64(empty.Heap)) / float64(max(w.later, 1))

	again := backlog{sampled: w.jobs}
	if got["enqueue"], err = again.enqueueRate(ctx, s, url); err != nil {
		return nil, err
	}
	got["both"], err = w.restart(ctx, s, broker, plan)
	return got, err
}

// schedule enqueues the jobs for tomorrow.
func (w scheduled) schedule(ctx context.Context, s *testbed, url string) error {
	if w.later == 0 {
		return nil
	}
	caller, err := s.caller(ctx, callerSpec{Engine: scheduling, URL: url, Queues: []string{defaultQueue}})
	if err != nil {
		return err
	}
	o := order{Queue: defaultQueue, Type: noop, From: w.jobs, Jobs: w.later, AtOnce: manyAtOnce}
	return errors.Join(caller.call("many", o, nil), s.end(caller, (*process).stop))
}

// restart ends the broker, and returns how many seconds it takes from its next start until the first
// of the jobs that are ready has started.
func (w scheduled) restart(ctx context.Context, s *testbed, broker *process, plan drainPlan) (float64, error) {
	if err := s.end(broker, (*process).stop); err != nil {
		return 0, err
	}
	begun := time.Now()
	_, url, err := s.broker(ctx)
	if err != nil {
		return 0, err
	}
	rest, err := drainRest(ctx, s, plan, url)
	if err != nil {
		return 0, err
	}
	return firstStart([]score{rest}).Sub(begun).Seconds(), checkAll(w.jobs, []score{rest})
}
