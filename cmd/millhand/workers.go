package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
)

func workersCommand(a *app) *cobra.Command {
	cmd := a.command(spec{
		use:   "workers [WORKER]...",
		short: "The workers, their slots and what they run; drain them",
		long: "The workers, their slots and how many jobs they run, and the processes whose pipelines read\n" +
			"streams, which have no slots. A worker that was killed is listed for another 10 s, one that\n" +
			"stopped is not. WORKER is an id or a name.",
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
			return s.workersListing(workers).print(s.app, workers)
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

func (s *session) workersListing(workers []millhand.WorkerInfo) *listing[millhand.WorkerInfo] {
	l := &listing[millhand.WorkerInfo]{
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
				plain(w.ID), stateOfWorker(w), number(w.Concurrency), number(w.RunningTotal),
				plain(s.age(w.Started)), plain(s.age(w.Seen)), plain(w.Version), plain(strings.Join(slices.Sorted(slices.Values(w.Queues)), ",")),
			}
		},
		name:  func(w millhand.WorkerInfo) string { return w.ID },
		empty: "no workers; start one with 'worker', and jobs that wait will run",
	}
	if slices.ContainsFunc(workers, func(w millhand.WorkerInfo) bool { return len(w.Pipelines) > 0 }) {
		rest := l.row
		l.columns = append(l.columns, column{title: "PIPELINES"})
		l.row = func(w millhand.WorkerInfo) []cell { return append(rest(w), plain(pipelinesOf(w))) }
	}
	if slices.ContainsFunc(workers, func(w millhand.WorkerInfo) bool { return w.Web != "" }) {
		rest := l.row
		l.columns = append(l.columns, column{title: "DASHBOARD", spare: true})
		l.row = func(w millhand.WorkerInfo) []cell { return append(rest(w), plain(w.Web)) }
	}
	return l
}

// pipelinesOf says what the pipelines of a process do.
func pipelinesOf(w millhand.WorkerInfo) string {
	var all []string
	for _, p := range w.Pipelines {
		text := fmt.Sprintf("%s: %d in hand, %d handled, %d failed", p.Name, p.InHand, p.Processed, p.Failed)
		if p.Stream != "" {
			text += ", " + lagText(p.Lag, p.LagAge) + " of stream " + p.Stream
		}
		if p.State != "" {
			text += ", " + string(p.State)
		}
		var parts []string
		for _, part := range p.Partitions {
			parts = append(parts, fmt.Sprintf("%d (%s)", part.Partition, lagText(part.Lag, part.LagAge)))
		}
		if p.Of > 0 {
			text += fmt.Sprintf("; partitions of %d: %s", p.Of, cmp.Or(strings.Join(parts, ", "), none))
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

// lagText is how many messages wait, and for how long the oldest of them has.
func lagText(lag *int64, age *float64) string {
	if lag == nil {
		return "? wait"
	}
	text := thousands(*lag) + " wait"
	if *lag > 0 && age != nil {
		text += ", the oldest for " + span(time.Duration(*age*float64(time.Second)).Round(time.Second))
	}
	return text
}

func stateOfWorker(w millhand.WorkerInfo) cell {
	c := cell{text: string(w.State)}
	if w.State != millhand.WorkerWorking {
		c.style = yellow
	}
	if w.Order != nil && w.Order.By != "" {
		c.text += " by " + w.Order.By
	}
	return c
}
