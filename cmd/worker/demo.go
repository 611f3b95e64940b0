package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/cli"
)

const (
	demoMost  = 55 * time.Second // the demo ends within a minute, whatever happens
	demoTick  = 500 * time.Millisecond
	demoBatch = 500
	demoDrain = time.Second // for jobs in hand when the demo is interrupted
)

// demoPlan is what the demo enqueues: every way a job can go.
type demoPlan struct {
	typ, payload, what string
	count              int
	attempts           int
}

func demoPlans() []demoPlan {
	return []demoPlan{
		{typ: "echo", payload: `{"hello":"world"}`, what: "succeed at once", count: 5000},
		{typ: "sleep", payload: `{"for":"100ms"}`, what: "take 100 ms each", count: 300},
		{typ: "flaky", payload: `{"fail":2}`, what: "fail twice, then succeed", count: 100},
		{typ: "crash", payload: `{}`, what: "panic until they are dead", count: 20, attempts: 3},
		{typ: "doomed", payload: `{}`, what: "fail for good at once", count: 20},
	}
}

func demoCommand(stdout io.Writer, signals <-chan os.Signal) *cobra.Command {
	verbose := false
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "See jobs of every kind run, on a broker in a temporary directory",
		Example: "  worker demo",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the worker's log as well")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		log := slog.New(slog.DiscardHandler)
		if verbose {
			log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
		}
		d := &demo{out: stdout, log: log, live: cli.IsTerminal(stdout), stats: make(map[string]*demoStats)}
		return d.runUntil(cmd.Context(), signals)
	}
	return cmd
}

// demo is a whole installation in one process, for a minute.
type demo struct {
	out   io.Writer
	log   *slog.Logger
	live  bool // redraw the progress line
	stats map[string]*demoStats
	total int
	ended int
	start time.Time
	end   time.Time // of the last job
}

type demoStats struct {
	enqueued, succeeded, retried, dead int
	first                              []time.Duration // from enqueue to the start of the first run
	lastError                          string
}

// errInterrupted ends the demo at a signal.
var errInterrupted = errors.New("interrupted")

// runUntil ends the demo at the first signal, which leaves nothing behind, and the process
// at the second.
func (d *demo) runUntil(ctx context.Context, signals <-chan os.Signal) error {
	ctx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	done := make(chan struct{})
	defer close(done)
	wg.Go(func() {
		for all := (stops{}); ; {
			select {
			case <-done:
				return
			case sig := <-signals:
				if all.next(sig) > 1 {
					os.Exit(cli.ExitInterrupted)
				}
				interrupt(errInterrupted)
			}
		}
	})
	err := d.run(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		return &cli.ExitError{Code: cli.ExitInterrupted, Err: err}
	}
	return err
}

func (d *demo) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, demoMost, errors.New("the demo took too long for this machine"))
	defer cancel()
	dir, err := os.MkdirTemp("", "millhand-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b, err := broker.Start(broker.Config{Store: dir, Port: -1, Logger: d.log})
	if err != nil {
		return err
	}
	defer b.Shutdown()
	nc, err := nats.Connect("", append(millhand.ConnectOptions(d.log), nats.InProcessServer(b))...)
	if err != nil {
		return err
	}
	defer nc.Close()
	d.say("A broker is running at %s, its data in %s. Now come\n", b.ClientURL(), dir)
	for _, p := range demoPlans() {
		d.total += p.count
		d.stats[p.typ] = &demoStats{enqueued: p.count}
		d.say("  %5d %-6s jobs that %s\n", p.count, p.typ, p.what)
	}
	d.start = time.Now()
	if err := d.work(ctx, nc); err != nil {
		if d.live {
			d.say("\n") // below the progress line
		}
		return err
	}
	d.table()
	d.next()
	return nil
}

// work runs a worker, enqueues the jobs and follows them to their ends.
func (d *demo) work(ctx context.Context, nc *nats.Conn) error {
	cfg := millhand.Config{Logger: d.log}
	client, err := millhand.NewClient(nc, cfg)
	if err != nil {
		return err
	}
	mux := millhand.NewMux()
	again := millhand.TypeConfig{Backoff: millhand.Backoff{Initial: 500 * time.Millisecond}}
	mux.HandleFunc("echo", echo)
	millhand.Handle(mux, nap)
	millhand.HandleResult(mux, fail, again)
	millhand.Handle(mux, crash, again)
	mux.HandleFunc("doomed", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New("no such customer"))
	})
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{
		Config: cfg, Mux: mux, Concurrency: 100, DrainTimeout: demoDrain,
	})
	if err != nil {
		return err
	}
	return inParallel(ctx,
		w.Run,
		func(ctx context.Context) error { return d.follow(ctx, client) },
		func(ctx context.Context) error { return d.enqueue(ctx, client) },
	)
}

func (d *demo) say(format string, args ...any) { say(d.out, format, args...) }

// say writes for people: if nobody reads, the demo goes on to its end all the same.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

func (d *demo) table() {
	elapsed := d.end.Sub(d.start)
	d.say("\n")
	t := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	say(t, "TYPE\tENQUEUED\tSUCCEEDED\tRETRIED\tDEAD\tSTART P50\tSTART P99\t\n")
	var all demoStats
	for _, p := range demoPlans() {
		s := d.stats[p.typ]
		d.row(t, p.typ, s)
		all.enqueued += s.enqueued
		all.succeeded += s.succeeded
		all.retried += s.retried
		all.dead += s.dead
		all.first = append(all.first, s.first...)
	}
	d.row(t, "all", &all)
	_ = t.Flush() // to standard output
	d.say("\n%d jobs in %.1f s: %.0f jobs/s. START is the time from enqueue to the start of the first run.\n",
		d.ended, elapsed.Seconds(), float64(d.ended)/elapsed.Seconds())
}

func (d *demo) row(w io.Writer, name string, s *demoStats) {
	slices.Sort(s.first)
	say(w, "%s\t%d\t%d\t%d\t%d\t%v\t%v\t\n", name, s.enqueued, s.succeeded, s.retried, s.dead,
		percentile(s.first, 50), percentile(s.first, 99))
}

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*p/100].Round(100 * time.Microsecond)
}

func (d *demo) next() {
	d.say(`
A dead job keeps its payload and the error of every attempt; the last of a crash job was:
  %s

Try next:
  go run ./cmd/worker                                        a worker with a broker that keeps its data
  go run ./cmd/enqueue flaky '{"fail":2}' --wait             in another terminal: a job that needs three attempts
  go run ./cmd/worker --exec hello='echo hello'              your own type: it runs a command
`, d.stats["crash"].lastError)
}
