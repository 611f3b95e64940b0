package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

func clusterWork(o options) work {
	jobs := o.jobs / 10
	contest := func(engine string) contestant {
		return contestant{engine, func(ctx context.Context, s *testbed) (sample, error) {
			nodes, url, err := s.cluster(ctx)
			if err != nil {
				return nil, err
			}
			return drainPlan{engine: engine, jobs: jobs, inHand: rawInHand}.withDefaults().run(ctx, s, nodes, url)
		}}
	}
	n := thousands(float64(jobs), 0)
	return work{
		name: "cluster", about: "three brokers, three copies, every write synced to disk",
		contestants: []contestant{contest(mill), contest(raw)},
		rows: []row{
			{title: "drain " + n + " jobs, R3, sync_interval: always", measure: "rate", unit: "jobs/s", of: mill, against: raw, budget: budget{atLeast: 0.40}},
			{title: "enqueue " + n + " in bulk, R3, sync_interval: always", measure: "fill", unit: "jobs/s", of: mill, against: raw},
			{title: "CPU of the three brokers for the drain", measure: "broker", unit: "µs/job", digits: 1, of: mill, beside: raw},
			{title: "CPU of the three brokers for the enqueue", measure: "filling", unit: "µs/job", digits: 1, of: mill, beside: raw},
		},
	}
}

// cluster starts three brokers and returns their URLs with commas between.
func (s *testbed) cluster(ctx context.Context) (nodes []*process, urls string, err error) {
	var all []string
	routes := []string{"nats://127.0.0.1:9"} // nobody's: a node wants a route to be one, and the first knows none
	for _, name := range []string{"a", "b", "c"} {
		p, err := s.start(ctx, "node", nodeSpec{Name: name, Store: filepath.Join(s.dir, name), Routes: routes})
		if err != nil {
			return nil, "", err
		}
		var at nodeAddress
		if err := p.call("address", nil, &at); err != nil {
			return nil, "", err
		}
		nodes, all, routes = append(nodes, p), append(all, at.URL), append(routes, at.Route)
	}
	return nodes, strings.Join(all, ","), awaitCluster(ctx, nodes)
}

// awaitCluster returns when one of the nodes leads them all.
func awaitCluster(ctx context.Context, nodes []*process) error {
	for begun := time.Now(); time.Since(begun) < patience; {
		for _, p := range nodes {
			var peers int
			if err := p.call("peers", nil, &peers); err != nil {
				return err
			}
			if peers == len(nodes) {
				return nil
			}
		}
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
	}
	return fmt.Errorf("no cluster of %d within %v", len(nodes), patience)
}
