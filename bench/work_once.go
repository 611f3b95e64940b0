package main

import (
	"context"
	"time"
)

// Contestants of onceWork.
const (
	usedIDs    = "ids used before"
	enqueueIDs = "enqueue, chosen ids"
	enqueueFor = "enqueue, kept ids"
)

func onceWork(o options) work {
	n := thousands(float64(o.jobs), 0)
	fresh := func(engine string) contestant {
		return contestant{engine, drain(drainPlan{engine: engine, jobs: o.jobs})}
	}
	rate := func(title, of, against string, atLeast float64) row {
		return row{title: title, measure: "rate", unit: "jobs/s", of: of, against: against, budget: budget{atLeast: atLeast}}
	}
	return work{
		name: "once", about: "jobs with ids of choice: fresh ones, ones used before, and ones that stay taken",
		contestants: []contestant{
			fresh(mill), fresh(withIDs),
			{usedIDs, drainAgain(drainPlan{engine: withIDs, jobs: o.jobs})},
			fresh(keepingIDs),
			{enqueueIDs, enqueueWithIDs(o, withIDs)},
			{enqueueFor, enqueueWithIDs(o, keepingIDs)},
		},
		rows: []row{
			rate("drain "+n+" no-op jobs with ids of choice", withIDs, mill, 0.90),
			rate("the same with ids that were used before", usedIDs, withIDs, 0.60),
			rate("the same with ids that stay taken", keepingIDs, withIDs, 0.40),
			rate("enqueue with an id that stays taken, 32 callers", enqueueFor, enqueueIDs, 0.95),
		},
	}
}

// drainAgain is drain of jobs whose ids had a life before.
func drainAgain(plan drainPlan) func(context.Context, *testbed) (sample, error) {
	plan = plan.withDefaults()
	return func(ctx context.Context, s *testbed) (sample, error) {
		broker, url, err := s.broker(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := plan.run(ctx, s, []*process{broker}, url); err != nil {
			return nil, err
		}
		return plan.run(ctx, s, []*process{broker}, url)
	}
}

// enqueueWithIDs measures how fast many callers enqueue.
func enqueueWithIDs(o options, engine string) func(context.Context, *testbed) (sample, error) {
	return func(ctx context.Context, s *testbed) (sample, error) {
		_, _, caller, err := s.warmBroker(ctx, engine)
		if err != nil {
			return nil, err
		}
		var took time.Duration
		err = caller.call("enqueue", order{Queue: defaultQueue, Type: noop, From: 1, Jobs: o.jobs, Callers: manyCallers}, &took)
		return sample{"rate": float64(o.jobs) / took.Seconds()}, err
	}
}
