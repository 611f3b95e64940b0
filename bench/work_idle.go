package main

import (
	"context"
	"time"
)

const settleTime = 5 * time.Second // after which an idle worker has made what it needs

func idleWork(o options) work {
	window := 30 * time.Second
	if o.quick {
		window = time.Second
	}
	return work{
		name: "idle", about: "a worker with 20 types and nothing to do",
		contestants: []contestant{{mill, idle(window)}},
		rows: []row{
			{title: "idle worker with 20 types, CPU", measure: "worker", unit: "% of a core", digits: 2, of: mill, budget: budget{atMost: 0.5}},
			{title: "idle worker with 20 types, memory", measure: "rss", unit: "MB", digits: 1, of: mill, budget: budget{atMost: 30}},
			{title: "its broker, CPU", measure: "broker", unit: "% of a core", digits: 2, of: mill},
		},
	}
}

func idle(window time.Duration) func(context.Context, *testbed) (sample, error) {
	plan := drainPlan{engine: mill, types: manyTypes()}.withDefaults()
	return func(ctx context.Context, s *testbed) (sample, error) {
		broker, url, err := s.broker(ctx)
		if err != nil {
			return nil, err
		}
		w, err := s.worker(ctx, plan.workerSpec(url))
		if err != nil {
			return nil, err
		}
		if err := w.call("start", nil, nil); err != nil {
			return nil, err
		}
		if err := pause(ctx, min(settleTime, window)); err != nil {
			return nil, err
		}
		before, err := usages([]*process{w, broker})
		if err != nil {
			return nil, err
		}
		if err := pause(ctx, window); err != nil {
			return nil, err
		}
		after, err := usages([]*process{w, broker})
		if err != nil {
			return nil, err
		}
		share := func(i int) float64 { return 100 * (after[i].CPU - before[i].CPU).Seconds() / window.Seconds() }
		return sample{"worker": share(0), "broker": share(1), "rss": float64(after[0].RSS) / 1e6}, nil
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
