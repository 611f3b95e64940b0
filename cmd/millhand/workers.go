package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
)

func workersCommand(a *app) *cobra.Command {
	cmd := a.command(spec{
		use:   "workers [WORKER]...",
		short: "The workers, their slots and what they run; drain them",
		long: "The workers, their slots and how many jobs they run. A worker that was killed is listed for\n" +
			"another 10 s, one that stopped is not. WORKER is an id or a name.",
		example:  "  millhand workers\n  millhand workers web-1\n  millhand workers -o json",
		formats:  ofList(),
		args:     cobra.ArbitraryArgs,
		complete: workerIDs,
		run: func(ctx context.Context, s *session, args []string) error {
			workers, err := s.client.Workers(ctx)
			if err != nil {
				return err
			}
			if workers, err = chosen(workers, args); err != nil {
				return err
			}
			return s.workersListing().print(s.app, workers)
		},
	})
	return withCommands(cmd, drainCommand(a), undrainCommand(a))
}

func workerIDs(ctx context.Context, s *session) []string {
	workers, _ := s.client.Workers(ctx) // without them nothing is completed
	var ids []string
	for _, w := range workers {
		ids = append(ids, w.ID)
	}
	return ids
}

// chosen are the workers that have one of the names or ids, all without any.
func chosen(workers []millhand.WorkerInfo, names []string) ([]millhand.WorkerInfo, error) {
	if len(names) == 0 {
		return workers, nil
	}
	var found []millhand.WorkerInfo
	for _, name := range names {
		n := len(found)
		for _, w := range workers {
			if w.ID == name || w.Name == name {
				found = append(found, w)
			}
		}
		if len(found) == n {
			return nil, &cli.ExitError{Code: cli.ExitNotFound, Err: notThere("worker", name, "'millhand workers' has those there are")}
		}
	}
	return found, nil
}

func (s *session) workersListing() *listing[millhand.WorkerInfo] {
	return &listing[millhand.WorkerInfo]{
		key: "workers",
		columns: []column{
			{title: "WORKER"},
			{title: "STATE"},
			{title: "SLOTS", right: true},
			{title: "RUNNING", right: true},
			{title: "UP"},
			{title: "SEEN"},
			{title: "VERSION", spare: true},
			{title: "QUEUES"},
		},
		row: func(w millhand.WorkerInfo) []cell {
			return []cell{
				plain(w.ID), stateOfWorker(w.State), number(w.Concurrency), number(w.RunningTotal),
				plain(s.age(w.Started)), plain(s.age(w.Seen)), plain(w.Version), plain(strings.Join(slices.Sorted(slices.Values(w.Queues)), ",")),
			}
		},
		name:  func(w millhand.WorkerInfo) string { return w.ID },
		empty: "no workers; start one with 'worker', and jobs that wait will run",
	}
}

func stateOfWorker(state millhand.WorkerState) cell {
	c := cell{text: string(state)}
	if state != millhand.WorkerWorking {
		c.style = yellow
	}
	return c
}
