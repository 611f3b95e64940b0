package main

import (
	"context"
	"fmt"
	"time"
)

// How the nodes of a large installation are imitated: light workers, each with a
// connection of its own, in one process.
const (
	manyNodes       = 200
	nodeTypes       = 5
	nodeConcurrency = 10
)

func nodesWork(o options) work {
	count, window := manyNodes, 20*time.Second
	if o.quick {
		count, window = manyNodes/10, time.Second
	}
	one, many := "1 node", fmt.Sprintf("%d nodes", count)
	contest := func(name string, nodes int) contestant {
		plan := drainPlan{engine: mill, jobs: o.jobs, nodes: nodes, types: manyTypes()[:nodeTypes]}.withDefaults()
		return contestant{name, func(ctx context.Context, s *site) (sample, error) { return runNodes(ctx, s, plan, window) }}
	}
	line := func(title, measure, unit string, digits int) row {
		return row{title: title, measure: measure, unit: unit, digits: digits, of: many, beside: one}
	}
	return work{
		name: "nodes", about: "200 light workers on one broker",
		contestants: []contestant{contest(one, 1), contest(many, count)},
		rows: []row{
			line("an idle node of "+many+", at the broker", "idle", "% of a core", 3),
			line("its messages, both ways", "messages", "per s", 1),
			line("its memory at the broker", "heap", "kB of heap", 0),
			{title: "drain by " + many + " of concurrency 10", measure: "rate", unit: "jobs/s", of: many, against: one},
			line("its CPU at the broker", "broker", "µs/job", 1),
		},
	}
}

// runNodes measures the nodes of a plan while they idle, and then as they work.
func runNodes(ctx context.Context, s *site, p drainPlan, window time.Duration) (sample, error) {
	broker, url, err := s.broker(ctx)
	if err != nil {
		return nil, err
	}
	w, err := s.worker(ctx, p.workerSpec(url))
	if err != nil {
		return nil, err
	}
	empty, err := broker.usage(true)
	if err != nil {
		return nil, err
	}
	if err := w.call("start", nil, nil); err != nil {
		return nil, err
	}
	if err := pause(ctx, min(window, settleTime)); err != nil {
		return nil, err
	}
	before, messages, err := nodesNow(w, broker)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, window); err != nil {
		return nil, err
	}
	after, more, err := nodesNow(w, broker)
	if err != nil {
		return nil, err
	}
	if err := w.call("stop", nil, nil); err != nil {
		return nil, err
	}
	got, err := p.run(ctx, s, []*process{broker}, url)
	if err != nil {
		return nil, err
	}
	n := float64(p.nodes)
	got["idle"] = 100 * (after.CPU - before.CPU).Seconds() / window.Seconds() / n
	got["messages"] = float64(more-messages) / window.Seconds() / n
	got["heap"] = (float64(before.Heap) - float64(empty.Heap)) / n / 1000
	return got, nil
}

// nodesNow tells what the broker has used, and the nodes have sent and received.
func nodesNow(w, broker *process) (u usage, messages uint64, err error) {
	if err := w.call("traffic", nil, &messages); err != nil {
		return u, 0, err
	}
	u, err = broker.usage(true)
	return u, messages, err
}
