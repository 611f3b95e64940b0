package main

import (
	"context"
	"errors"
	"time"
)

// dedupWindow is for how long the broker remembers the message id of each enqueue.
const dedupWindow = 30 * time.Second

func backlogWork(o options) work {
	few := min(10_000, o.million)
	small, large := thousands(float64(few), 0)+" waiting", thousands(float64(o.million), 0)+" waiting"
	rest := dedupWindow + time.Second
	if o.quick {
		rest = 0
	}
	line := func(title, measure string) row {
		return row{title: title + " with " + large, measure: measure, unit: "jobs/s", of: large, against: small, budget: budget{atLeast: 0.90}}
	}
	first := func(title, measure string) row {
		return row{title: title + ", first job with " + large, measure: measure, unit: "s", digits: 2, of: large, beside: small, budget: budget{atMost: 1}}
	}
	return work{
		name: "backlog", about: "many jobs waiting: speed, memory, a restart",
		contestants: []contestant{
			{small, backlog{waiting: few, sampled: o.jobs / 2, rest: rest}.run},
			{large, backlog{waiting: o.million, sampled: o.jobs / 2, rest: rest}.run},
		},
		rows: []row{
			line("drain", "drain"),
			line("enqueue, 32 callers,", "enqueue"),
			{title: "broker's memory with " + large, measure: "heap", unit: "B of heap/job", of: large, beside: small, budget: budget{atMost: 250}},
			{title: "the same within 30 s of the enqueue, while the broker knows their message ids", measure: "fresh", unit: "B of heap/job", of: large, beside: small},
			{title: "the same after all were handled, with their events", measure: "after", unit: "B of heap/job", of: large, beside: small},
			first("restart of a worker", "worker"),
			first("restart of broker and worker", "both"),
		},
	}
}

// A backlog is this many jobs waiting, and this many more by which speed is sampled: while
// these come and go, the others stay.
type backlog struct {
	waiting, sampled int
	rest             time.Duration // after the enqueue
}

func (b backlog) run(ctx context.Context, s *testbed) (sample, error) {
	broker, url, err := s.broker(ctx)
	if err != nil {
		return nil, err
	}
	got := make(sample)
	heap := func(measure string, jobs int) error {
		u, err := broker.usage(true)
		got[measure] = (float64(u.Heap) - got["empty"]) / float64(jobs)
		return err
	}
	if err := heap("empty", 1); err != nil {
		return nil, err
	}
	plan := drainPlan{engine: mill, jobs: b.waiting}.withDefaults()
	if _, err := plan.fill(ctx, s, []*process{broker}, url); err != nil {
		return nil, err
	}
	if err := errors.Join(heap("fresh", b.waiting), pause(ctx, b.rest), heap("heap", b.waiting)); err != nil {
		return nil, err
	}
	plan.jobs += b.sampled
	if got["enqueue"], err = b.enqueueRate(ctx, s, url); err != nil {
		return nil, err
	}
	first, begun, err := b.drainSome(ctx, s, plan, url)
	if err != nil {
		return nil, err
	}
	got["worker"] = firstStart([]score{first}).Sub(begun).Seconds()
	got["drain"] = float64(b.sampled-1) / time.Duration(first.Mark-first.First).Seconds()

	if err := s.end(broker, (*process).stop); err != nil {
		return nil, err
	}
	begun = time.Now()
	if broker, url, err = s.broker(ctx); err != nil {
		return nil, err
	}
	second, err := drainRest(ctx, s, plan, url)
	if err != nil {
		return nil, err
	}
	got["both"] = firstStart([]score{second}).Sub(begun).Seconds()
	return got, errors.Join(heap("after", plan.jobs), checkAll(plan.jobs, []score{first, second}))
}

// enqueueRate enqueues the sampled jobs.
func (b backlog) enqueueRate(ctx context.Context, s *testbed, url string) (float64, error) {
	caller, err := s.caller(ctx, callerSpec{Engine: mill, URL: url, Queues: []string{defaultQueue}})
	if err != nil {
		return 0, err
	}
	var took time.Duration
	o := order{Queue: defaultQueue, Type: noop, From: b.waiting, Jobs: b.sampled, Callers: manyCallers}
	if err := caller.call("enqueue", o, &took); err != nil {
		return 0, err
	}
	return float64(b.sampled) / took.Seconds(), s.end(caller, (*process).stop)
}

// drainSome has a new worker handle the sampled jobs, or some more, and returns its score
// and when it was started.
func (b backlog) drainSome(ctx context.Context, s *testbed, p drainPlan, url string) (got score, begun time.Time, err error) {
	begun = time.Now()
	w, err := s.worker(ctx, p.workerSpec(url))
	if err != nil {
		return got, begun, err
	}
	err = errors.Join(w.call("start", nil, nil), w.call("await", b.sampled, nil), w.call("stop", nil, nil))
	if err != nil {
		return got, begun, err
	}
	return got, begun, w.call("score", scoreOptions{Mark: b.sampled}, &got)
}

// drainRest has a new worker handle all jobs that are left.
func drainRest(ctx context.Context, s *testbed, p drainPlan, url string) (got score, err error) {
	w, err := s.worker(ctx, p.workerSpec(url))
	if err != nil {
		return got, err
	}
	if err := errors.Join(w.call("start", nil, nil), p.awaitEmpty(ctx, s, url)); err != nil {
		return got, err
	}
	return got, w.call("score", scoreOptions{}, &got)
}
