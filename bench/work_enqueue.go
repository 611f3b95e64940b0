package main

import (
	"context"
	"fmt"
	"time"
)

const manyCallers = 32

func enqueueWork(o options) work {
	line := func(title, measure string, atLeast float64) row {
		return row{title: title, measure: measure, unit: "jobs/s", of: mill, against: raw, budget: budget{atLeast: atLeast}}
	}
	return work{
		name: "enqueue", about: "one job at a time, by one caller and by 32",
		contestants: []contestant{{mill, enqueueBy(o, mill)}, {raw, enqueueBy(o, raw)}},
		rows: []row{
			line("enqueue one by one, 1 caller", "one", 0.90),
			line("enqueue one by one, 32 callers", "many", 0.80),
			{title: "CPU of the broker, 32 callers", measure: "broker", unit: "µs/job", digits: 1, of: mill, beside: raw},
		},
	}
}

func enqueueBy(o options, engine string) func(context.Context, *testbed) (sample, error) {
	return func(ctx context.Context, s *testbed) (sample, error) {
		broker, url, caller, err := s.warmBroker(ctx, engine)
		if err != nil {
			return nil, err
		}
		got := make(sample)
		total := 1
		for _, m := range []struct {
			measure       string
			callers, jobs int
		}{
			{"one", 1, o.jobs / 5},
			{"many", manyCallers, o.jobs},
		} {
			var took time.Duration
			before, err := broker.usage(false)
			if err != nil {
				return nil, err
			}
			if err := caller.call("enqueue", order{Queue: defaultQueue, Type: noop, From: total, Jobs: m.jobs, Callers: m.callers}, &took); err != nil {
				return nil, err
			}
			after, err := broker.usage(false)
			if err != nil {
				return nil, err
			}
			got[m.measure] = float64(m.jobs) / took.Seconds()
			got["broker"] = float64((after.CPU - before.CPU).Microseconds()) / float64(m.jobs) // the last one's stays
			total += m.jobs
		}
		return got, s.checkWaiting(ctx, url, engine, total)
	}
}

// checkWaiting returns an error unless as many jobs wait as were enqueued.
func (s *testbed) checkWaiting(ctx context.Context, url, engine string, jobs int) error {
	name, empty := streamOf(engine, defaultQueue)
	stream, err := s.stream(ctx, url, name)
	if err != nil {
		return err
	}
	if n := stream.CachedInfo().State.Msgs - empty; n != uint64(jobs) {
		return fmt.Errorf("%d jobs wait, %d were enqueued", n, jobs)
	}
	return nil
}
