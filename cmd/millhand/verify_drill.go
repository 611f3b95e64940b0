package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/drill"
)

// Bounds of a drill.
const (
	maxDrillJobs     = 20_000
	minDrillWorkers  = 2 // one is left alone
	maxDrillWorkers  = 32
	minDrillDuration = time.Second
	maxDrillDuration = time.Hour
)

// drillFlags are the flags of a drill, and whether there is to be one.
type drillFlags struct {
	do bool
	drill.Options
}

func (f *drillFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&f.do, "drill", false, "rather than look at what there is, enqueue jobs to a queue of its own, kill, freeze and drain workers of its own, and see whether every promise is kept")
	fs.IntVar(&f.Jobs, "jobs", 2000, "jobs of the drill")
	fs.DurationVar(&f.Duration, "duration", time.Minute, "for how long the drill disturbs its workers; it ends a little later")
	fs.IntVar(&f.Workers, "workers", 4, "workers of the drill at once, each a process of this machine")
	fs.Uint64Var(&f.Seed, "seed", 0, "choose jobs and disturbances as the drill with this `SEED` did; 0 takes a new one")
}

// check refuses what makes no drill.
func (f *drillFlags) check(fs *pflag.FlagSet) error {
	for _, name := range []string{"jobs", "duration", "workers", "seed"} {
		if fs.Changed(name) && !f.do {
			return cli.Usagef("--%s is about a drill: add --drill", name)
		}
	}
	for _, name := range []string{"only", "looks", "deep"} {
		if fs.Changed(name) && f.do {
			return cli.Usagef("--%s is not about a drill: leave it out, or leave out --drill", name)
		}
	}
	switch {
	case !f.do:
	case f.Jobs < 1 || f.Jobs > maxDrillJobs:
		return cli.Usagef("--jobs %d: must be from 1 to %d", f.Jobs, maxDrillJobs)
	case f.Workers < minDrillWorkers || f.Workers > maxDrillWorkers:
		return cli.Usagef("--workers %d: must be from %d to %d", f.Workers, minDrillWorkers, maxDrillWorkers)
	case f.Duration < minDrillDuration || f.Duration > maxDrillDuration:
		return cli.Usagef("--duration %v: must be from %v to %v", f.Duration, minDrillDuration, maxDrillDuration)
	}
	return nil
}

func (s *session) drill(ctx context.Context, o drill.Options, report string) error {
	outlivePipes()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if o.Seed == 0 {
		o.Seed = uint64(rand.Uint32()) + 1 //nolint:gosec // not a secret
	}
	r, err := drill.Run(ctx, drill.Config{
		Client: s.client, Stream: s.js, Store: s.store, Registry: s.registry, Server: s.nc.ConnectedServerVersion(), Say: s.warn,
		Launch: func(w drill.Worker) *exec.Cmd {
			told, _ := json.Marshal(w) // it is made of texts and numbers
			// It ends with its standard input, and not with ctx: until then it is disturbed.
			return exec.CommandContext(context.WithoutCancel(ctx), self, append(s.flagsOfBroker(), drillWorker, string(told))...) //nolint:gosec // this program
		},
	}, o)
	if err != nil {
		return err
	}
	return s.showReport(&r.Report, r, report)
}

// flagsOfBroker are the flags that say which broker was meant, as they were given.
func (s *session) flagsOfBroker() (args []string) {
	s.conn.VisitGiven(func(name, value string) {
		if !isOutputFlag(name) {
			args = append(args, "--"+name+"="+value)
		}
	})
	return args
}

// drillWorker is the command that a worker of a drill is. Nobody calls it by hand.
const drillWorker = "drill-worker"

func drillWorkerCommand(a *app) *cobra.Command {
	cmd := a.command(spec{
		use:     drillWorker + " WORKER",
		short:   "A worker of 'verify --drill', which starts it",
		example: "  millhand " + drillWorker + ` '{"name":"drill-1","queue":"drill","types":{"quick":"drill-quick"}}'`,
		formats: []format{formatText},
		args:    cobra.ExactArgs(1),
		run: func(ctx context.Context, s *session, args []string) error {
			var w drill.Worker
			if err := json.Unmarshal([]byte(args[0]), &w); err != nil {
				return cli.Usagef("%s: %w", drillWorker, err)
			}
			return w.Work(ctx, s.nc, s.client.Config(), s.in, s.out)
		},
	})
	cmd.Hidden = true
	return cmd
}
