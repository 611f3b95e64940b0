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
	count, window, each := manyNodes, 20*time.Second, 5
	if o.quick {
		count, window, each = manyNodes/10, time.Second, 1
	}
	one, many, rawMany := "1 node", fmt.Sprintf("%d nodes", count), "raw"
	plan := func(nodes int) drainPlan {
		return drainPlan{engine: mill, jobs: o.jobs / 5, nodes: nodes, types: manyTypes()[:nodeTypes]}.withDefaults()
	}
	rawPlan := plan(count)
	rawPlan.engine, rawPlan.inHand, rawPlan.types = raw, 4*nodeConcurrency, rawPlan.types[:1]
	contest := func(name string, nodes int) contestant {
		return contestant{name, func(ctx context.Context, s *testbed) (sample, error) {
			return runNodes(ctx, s, plan(nodes), window, each)
		}}
	}
	line := func(title, measure, unit string, digits int, beside string) row {
		return row{title: title, measure: measure, unit: unit, digits: digits, of: many, beside: beside}
	}
	return work{
		name: "nodes", about: "200 light workers on one broker",
		contestants: []contestant{contest(one, 1), contest(many, count), {rawMany, drain(rawPlan)}},
		rows: []row{
			line("an idle node of "+many+" with 5 types, at the broker", "idle", "% of a core", 3, one),
			line("its messages, both ways", "messages", "per s", 1, one),
			line("its memory at the broker", "heap", "kB of heap", 0, one),
			line("jobs of 1 s on "+many+" of concurrency 10", "ideal", "of the ideal time", 2, one),
			line("CPU at the broker for one of them", "long", "µs/job", 1, one),
			line("no-op jobs on "+many, "rate", "jobs/s", 0, rawMany),
			line("CPU at the broker for one of them", "broker", "µs/job", 1, rawMany),
		},
	}
}

// longJob is the time that a job takes which no node would ask for ahead.
const longJob = time.Second

// runNodes measures the nodes of a plan while they idle, then with its jobs, and then with
// long ones, this many for each slot.
func runNodes(ctx context.Context, s *testbed, p drainPlan, window time.Duration, each int) (sample, error) {
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
	p.takes, p.jobs = longJob, p.nodes*nodeConcurrency*each
	long, err := p.run(ctx, s, []*process{broker}, url)
	if err != nil {
		return nil, err
	}
	got["ideal"], got["long"] = long["ideal"], long["broker"]
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
