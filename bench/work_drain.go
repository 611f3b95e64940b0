package main

import (
	"context"
	"errors"
	"slices"
	"time"
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
	silent := contestant{millSilent, drain(drainPlan{engine: mill, jobs: o.jobs, silent: true})}
	alike := plan(raw, millInHand)
	alike.name = rawAlike
	rate := row{
		title: "drain " + thousands(float64(o.jobs), 0) + " no-op jobs, concurrency 100, one worker", measure: "rate", unit: "jobs/s",
		of: mill, against: raw, beside: rawAlike, budget: budget{atLeast: 0.40},
	}
	quietRate := rate
	quietRate.title, quietRate.of, quietRate.budget = "the same with events off", millSilent, budget{atLeast: 0.65}
	cost := func(title, measure, unit string, atMost float64) row {
		return row{title: title, measure: measure, unit: unit, digits: 1, of: mill, beside: raw, budget: budget{atMost: atMost}}
	}
	return work{
		name: "drain", about: "a backlog of no-op jobs, with what each costs",
		contestants: []contestant{plan(mill, 0), silent, plan(raw, rawInHand), alike, plan(rawEvent, rawInHand), plan(rawOne, rawInHand)},
		rows: []row{
			rate, quietRate,
			{title: "plain JetStream that confirms an event before each ack", measure: "rate", unit: "jobs/s", of: rawEvent, against: raw},
			{title: "plain JetStream with one subject for all", measure: "rate", unit: "jobs/s", of: rawOne, against: raw},
			cost("CPU of the worker", "worker", "µs/job", 25),
			cost("CPU of the broker", "broker", "µs/job", 25),
			cost("allocations of the worker", "mallocs", "per job", 30),
		},
	}
}

// drain enqueues all jobs and measures how they are worked off.
func drain(plan drainPlan) func(context.Context, *testbed) (sample, error) {
	plan = plan.withDefaults()
	return func(ctx context.Context, s *testbed) (sample, error) {
		broker, url, err := s.broker(ctx)
		if err != nil {
			return nil, err
		}
		return plan.run(ctx, s, []*process{broker}, url)
	}
}

// run enqueues the jobs, starts the workers and measures until the last job is gone.
func (p drainPlan) run(ctx context.Context, s *testbed, brokers []*process, url string) (sample, error) {
	var got sample
	var err error
	if !p.beside {
		if got, err = p.fill(ctx, s, brokers, url); err != nil {
			return nil, err
		}
	}
	workers, err := p.startWorkers(ctx, s, url)
	if err != nil {
		return nil, err
	}
	before, err := usages(slices.Concat(workers, brokers))
	if err != nil {
		return nil, err
	}
	if err := startAll(workers); err != nil {
		return nil, err
	}
	if p.beside {
		if got, err = p.fill(ctx, s, brokers, url); err != nil {
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
	scores, err := scoresOf(workers)
	if err != nil {
		return nil, err
	}
	p.addCosts(got, before, after)
	got["rate"] = float64(p.jobs) / empty.Sub(firstStart(scores)).Seconds()
	if p.takes > 0 {
		got["ideal"] = p.idealTime().Seconds() / lastEnd(scores).Sub(firstStart(scores)).Seconds()
	}
	got["least"] = leastShare(scores)
	return got, errors.Join(checkAll(p.jobs, scores), s.endAll(workers))
}

// addCosts adds what the workers, which come first, and the brokers used for each job.
func (p drainPlan) addCosts(got sample, before, after []usage) {
	for i := range before {
		cpu := p.perJob(after[i].CPU - before[i].CPU)
		if i >= p.workers {
			got["broker"] += cpu
			continue
		}
		got["worker"] += cpu
		got["mallocs"] += float64(after[i].Mallocs-before[i].Mallocs) / float64(p.jobs)
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

func scoresOf(workers []*process) ([]score, error) {
	all := make([]score, len(workers))
	var errs []error
	for i, w := range workers {
		errs = append(errs, w.call("score", scoreOptions{}, &all[i]))
	}
	return all, errors.Join(errs...)
}

// startAll has workers take jobs from now on.
func startAll(workers []*process) error {
	for _, w := range workers {
		if err := w.call("start", nil, nil); err != nil {
			return err
		}
	}
	return nil
}
