package main

import (
	"context"
	"fmt"
	"time"

	"github.com/millhand/millhand"
)

// What publishes ticks.
const (
	cronWorkers = 3
	cronEntries = 100 // of a tick in 30 s each
)

func cronWork(o options) work {
	window := 30 * time.Second // in which each entry has a tick
	if o.quick {
		window = time.Second
	}
	return work{
		name: "cron", about: "idle workers that publish the ticks of 100 entries, two a minute each",
		contestants: []contestant{{mill, ticks(window)}},
		rows: []row{
			{title: "ticks of 100 entries, two a minute each, CPU of one of three workers", measure: "worker", unit: "% of a core", digits: 3, of: mill, budget: budget{atMost: 0.1}},
			{title: "their broker, CPU", measure: "broker", unit: "% of a core", digits: 3, of: mill},
		},
	}
}

// ticks measures what idle workers use with entries, beyond what the same ones use without. The jobs are of a
// queue that nobody pulls from, since it is about publishing them.
func ticks(window time.Duration) func(context.Context, *testbed) (sample, error) {
	plan := drainPlan{engine: mill, workers: cronWorkers}.withDefaults()
	return func(ctx context.Context, s *testbed) (sample, error) {
		broker, url, err := s.broker(ctx)
		if err != nil {
			return nil, err
		}
		workers, err := plan.startWorkers(ctx, s, url)
		if err != nil {
			return nil, err
		}
		for _, w := range workers {
			if err := w.call("start", nil, nil); err != nil {
				return nil, err
			}
		}
		processes := append([]*process{broker}, workers...)
		without, err := shares(ctx, processes, window)
		if err != nil {
			return nil, err
		}
		if err := s.putCrons(ctx, url, cronEntries, window); err != nil {
			return nil, err
		}
		with, err := shares(ctx, processes, window)
		if err != nil {
			return nil, err
		}
		got := sample{"broker": with[0] - without[0]}
		for i := range workers {
			got["worker"] += (with[i+1] - without[i+1]) / cronWorkers
		}
		return got, nil
	}
}

// shares returns how much of a core each process uses in a window, in percent, once it has settled.
func shares(ctx context.Context, processes []*process, window time.Duration) ([]float64, error) {
	if err := pause(ctx, min(settleTime, window)); err != nil {
		return nil, err
	}
	before, err := usages(processes)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, window); err != nil {
		return nil, err
	}
	after, err := usages(processes)
	if err != nil {
		return nil, err
	}
	all := make([]float64, len(processes))
	for i := range all {
		all[i] = 100 * (after[i].CPU - before[i].CPU).Seconds() / window.Seconds()
	}
	return all, nil
}

// putCrons puts entries of a tick in 30 s, spread over a time, as "@every" counts from when it was put.
func (s *testbed) putCrons(ctx context.Context, url string, entries int, over time.Duration) error {
	nc, err := s.connect(url)
	if err != nil {
		return err
	}
	client, err := millhand.NewClient(nc, millhand.Config{Logger: quiet()})
	if err != nil {
		return err
	}
	for i := range entries {
		e := millhand.Cron{
			Name: fmt.Sprintf("entry-%d", i), Schedule: "@every 30s", Overlap: millhand.AllowOverlap,
			Args: millhand.Raw{Name: noop}, Options: []millhand.EnqueueOption{millhand.WithQueue("ticks")},
		}
		if err := client.PutCron(ctx, e); err != nil {
			return err
		}
		if err := pause(ctx, over/time.Duration(entries)); err != nil {
			return err
		}
	}
	return nil
}
