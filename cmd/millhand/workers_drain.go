package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/registry"
)

// A drainer is the command workers drain or workers undrain.
type drainer struct {
	end    bool
	dryRun bool
}

func drainCommand(a *app) *cobra.Command {
	return a.drainCommand(&drainer{}, spec{
		use:   "drain WORKER...",
		short: "Have workers take no new jobs, for an hour or until undrain",
		long: "Have workers take no new jobs. What runs goes on to its end, and what has not started is handed back.\n" +
			"The order ends by itself after an hour, since nobody is to forget a worker; the process is not ended.\n" +
			"It waits until the workers say that they heed it (exit 5 if one does not within 10 s).",
		example: "  millhand workers drain web-1\n  millhand workers drain web-1-9f86d081 web-2-0a1b2c3d",
	})
}

func undrainCommand(a *app) *cobra.Command {
	return a.drainCommand(&drainer{end: true}, spec{
		use:     "undrain WORKER...",
		short:   "Have workers that drain by order take jobs again",
		long:    "Have workers that drain by order take jobs again. One that stops does not.",
		example: "  millhand workers undrain web-1",
	})
}

func (a *app) drainCommand(d *drainer, s spec) *cobra.Command {
	s.args, s.complete, s.run = cobra.MinimumNArgs(1), workerIDs, d.run
	cmd := a.command(s)
	cmd.Flags().BoolVar(&d.dryRun, "dry-run", false, "only say which workers are meant")
	return cmd
}

// A drained worker is what -o json prints of it. Its field names are a contract.
type drained struct {
	Worker string `json:"worker"`
	State  string `json:"state"`   // as its presence has it now
	InHand int    `json:"in_hand"` // what it runs

	reads bool // a stream: it has messages in hand, and no jobs
}

// inHandOf is how many jobs a worker runs, or how many messages a pipeline of a stream has.
func inHandOf(n *registry.Node) int {
	if !n.Reads() {
		return n.RunningTotal
	}
	messages := 0
	for _, p := range n.Pipelines {
		messages += p.InHand
	}
	return messages
}

func (d *drainer) run(ctx context.Context, s *session, args []string) error {
	workers, err := s.client.Workers(ctx)
	if err != nil {
		return err
	}
	if workers, err = chosen(workers, args); err != nil {
		return err
	}
	order, action, want := s.registry.Drain, audit.Drain, registry.Draining
	if d.end {
		order, action, want = s.registry.Undrain, audit.Undrain, registry.Working
	}
	var ids []string
	for _, w := range workers {
		if ids = append(ids, w.ID); d.dryRun {
			continue
		}
		if err := order(ctx, w.ID); err != nil {
			return asUsage(err)
		}
		s.record(ctx, audit.Record{Action: action, Ref: w.ID, Count: 1})
	}
	if d.dryRun {
		want = ""
	}
	now, err := s.awaitState(ctx, ids, want)
	if err != nil {
		return err
	}
	return d.report(s, now, want)
}

// heedWithin is how long workers have to say that they heed an order.
const heedWithin = 10 * time.Second

// awaitState returns the workers once all of them are in a state, if one is wanted, or the time is over.
func (s *session) awaitState(ctx context.Context, ids []string, want string) ([]registry.Node, error) {
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(heedWithin); ; {
		all, err := s.registry.Nodes(ctx)
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(n registry.Node) bool { return !slices.Contains(ids, n.ID) })
		waits := slices.ContainsFunc(all, func(n registry.Node) bool { return want != "" && n.State != want })
		if !waits || time.Now().After(deadline) {
			return all, nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (d *drainer) report(s *session, workers []registry.Node, want string) error {
	code := cli.ExitOK
	now := []drained{}
	for _, n := range workers {
		now = append(now, drained{Worker: n.ID, State: n.State, InHand: inHandOf(&n), reads: n.Reads()})
		if want != "" && n.State != want {
			code = cli.ExitTimeout
			s.warn("%s was told, and has not said within %s that it is %s: its version %s may be one that knows no such order, or it stops", n.ID, span(heedWithin), want, n.Version)
		}
	}
	if s.output == formatJSON {
		if err := s.json(map[string]any{"workers": now, "dry_run": d.dryRun}); err != nil {
			return err
		}
		return exitWith(code, nil)
	}
	for _, n := range now {
		text := n.State
		if d.dryRun {
			text = "is meant, and is " + text
		}
		switch {
		case n.State == string(millhand.WorkerWorking):
		case n.reads:
			text += ", " + plural(n.InHand, "message is in hand", "messages are in hand")
		default:
			text += ", " + plural(n.InHand, "job runs", "jobs run")
		}
		if err := s.say("%s: %s", n.Worker, text); err != nil {
			return err
		}
	}
	return exitWith(code, nil)
}
