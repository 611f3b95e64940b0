package main

import (
	"context"
	"time"
)

// How the works about single jobs enqueue them.
const (
	latencyRate    = 500 // jobs/s
	latencyCallers = 8   // so that a slow enqueue holds up no other
	warmJobs       = 50
)

func latencyWork(o options) work {
	line := func(title, measure string, atMost float64) row {
		return row{title: title, measure: measure, unit: "ms", digits: 2, of: mill, against: raw, budget: budget{atMost: atMost}}
	}
	return work{
		name: "latency", about: "from enqueue to start, 500 jobs/s to an idle worker",
		contestants: []contestant{{mill, latency(o, mill)}, {raw, latency(o, raw)}},
		rows: []row{
			line("enqueue to start at 500 jobs/s, median", "p50", 1.5),
			line("enqueue to start at 500 jobs/s, 99 %", "p99", 2.5),
		},
	}
}

func latency(o options, engine string) func(context.Context, *testbed) (sample, error) {
	plan := drainPlan{engine: engine, jobs: warmJobs + o.jobs/20, inHand: rawInHand}.withDefaults()
	return func(ctx context.Context, s *testbed) (sample, error) {
		_, url, err := s.broker(ctx)
		if err != nil {
			return nil, err
		}
		caller, err := s.caller(ctx, callerSpec{Engine: engine, URL: url, Queues: []string{defaultQueue}})
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
		o := order{Queue: defaultQueue, Type: noop, Jobs: warmJobs, Callers: latencyCallers, Rate: latencyRate}
		if err := caller.call("enqueue", o, nil); err != nil {
			return nil, err
		}
		if err := w.call("await", warmJobs, nil); err != nil {
			return nil, err
		}
		o.From, o.Jobs = warmJobs, plan.jobs-warmJobs
		if err := caller.call("enqueue", o, nil); err != nil {
			return nil, err
		}
		if err := w.call("await", plan.jobs, nil); err != nil {
			return nil, err
		}
		var got score
		if err := w.call("score", scoreOptions{Skip: warmJobs}, &got); err != nil {
			return nil, err
		}
		ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		return sample{"p50": ms(got.P50), "p99": ms(got.P99)}, checkAll(plan.jobs, []score{got})
	}
}
