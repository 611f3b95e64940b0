package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/cli"
)

const (
	demoMost  = 55 * time.Second       // the demo ends within a minute, whatever happens
	demoLine  = time.Second            // between two lines where there is no terminal
	demoDraw  = 100 * time.Millisecond // between two drawings where there is one
	demoSlots = 100
	demoDrain = time.Second // for jobs in hand when the demo is interrupted
)

func demoCommand(stdout io.Writer, signals <-chan os.Signal) *cobra.Command {
	verbose, stay := false, false
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "See jobs of every kind run, on a broker in a temporary directory",
		Long:    "See jobs of every kind run, on a broker in a temporary directory, for less than a minute. With --stay\nit runs on, with several workers and a dashboard, for something to look at and to try commands on.",
		Example: "  worker demo\n  worker demo --stay",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the worker's log as well")
	cmd.Flags().BoolVar(&stay, "stay", false, "run jobs without an end, and a dashboard, until Ctrl-C")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d := &demo{screen: newScreen(stdout), log: slog.New(slog.DiscardHandler), plans: demoPlans(), stays: stay}
		if verbose {
			d.log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			d.screen.live = false // the log would be drawn over
		}
		return d.runUntil(cmd.Context(), signals)
	}
	return cmd
}

// demo is a whole installation in one process, for a minute unless it stays.
type demo struct {
	screen *screen
	log    *slog.Logger
	plans  []demoPlan
	stays  bool          // until it is interrupted
	counts *demoCounts   // from the burst on
	alone  time.Duration // half of the jobs that come one at a time take at most this long, from enqueue to start
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
	if !d.stays {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, demoMost, errors.New("the demo took too long for this machine"))
		defer cancel()
	}
	b, stop, err := broker.StartTemporary("demo", broker.Config{Logger: d.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if d.stays {
		return d.stay(ctx, b)
	}
	nc, err := nats.Connect("", append(millhand.ConnectOptions(d.log), nats.InProcessServer(b))...)
	if err != nil {
		return err
	}
	defer nc.Close()
	d.introduce(b.ClientURL())
	if err := d.work(ctx, nc); err != nil {
		return err
	}
	d.explain()
	d.sayNext()
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
	lone := addDemoTypes(mux)
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{
		Config: cfg, Mux: mux, Concurrency: demoSlots, DrainTimeout: demoDrain,
	})
	if err != nil {
		return err
	}
	return inParallel(ctx,
		w.Run,
		func(ctx context.Context) error {
			var err error
			if d.alone, err = enqueueAlone(ctx, client, lone); err != nil {
				return err
			}
			d.counts = newDemoCounts(d.plans)
			err = inParallel(ctx,
				d.show,
				func(ctx context.Context) error { return d.follow(ctx, client) },
				func(ctx context.Context) error { return d.enqueue(ctx, client) },
			)
			return cmp.Or(err, errDemoOver)
		},
	)
}

// introduce says what will be seen.
func (d *demo) introduce(url string) {
	s := d.screen
	s.say("A broker is running at %s, its data in a temporary directory. Now come", url)
	for _, p := range d.plans {
		s.print(p.String() + "\n")
	}
	s.print("\n")
}

// show shows how far the jobs are, until ctx ends: on a terminal as a table that changes.
func (d *demo) show(ctx context.Context) error {
	every := demoLine
	if d.screen.live {
		every = demoDraw
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.showNow(d.counts.clone(), time.Now())
		case <-ctx.Done():
			if counts := d.counts.clone(); counts.ended == counts.total || d.screen.live {
				d.showNow(counts, time.Now())
			}
			return nil
		}
	}
}

func (d *demo) showNow(counts *demoCounts, now time.Time) {
	if counts.ended == counts.total {
		now = counts.end
	}
	elapsed := now.Sub(counts.start)
	if d.screen.live {
		d.screen.draw(append(d.screen.table(d.plans, counts), d.screen.progress(counts, elapsed)))
		return
	}
	all := counts.all()
	d.screen.say("%5.1f s %d of %d jobs ended: %d succeeded, %d dead; %d retries",
		elapsed.Seconds(), counts.ended, counts.total, all.succeeded, all.dead, all.retried)
}

// explain says what the numbers mean. Where the table was not drawn, it is shown first.
func (d *demo) explain() {
	s, counts := d.screen, d.counts.clone()
	if !s.live {
		s.print("\n")
		s.draw(s.table(d.plans, counts))
	}
	elapsed, busy := counts.elapsed(), counts.busy()
	s.print("\n")
	s.say("%d jobs in %.1f s: %.0f jobs/s. For %.1f s of that time every job left was waiting for its retry, as its backoff"+
		" says. Without these waits it is %.0f jobs/s.",
		counts.ended, elapsed.Seconds(), perSecond(counts.ended, elapsed), max(0, elapsed-busy).Seconds(), perSecond(counts.ended, busy))
	s.print("\n")
	s.say("P50 and P99 are how long half of the jobs, and 99 of 100, waited at most from enqueue to the start of their first run."+
		" Here %d jobs came at once, and %d run at a time: most of it is the wait for the jobs before. A job that comes alone starts after %s.",
		counts.total, demoSlots, shortDuration(d.alone))
}

func perSecond(n int, d time.Duration) float64 {
	return float64(n) / max(d, time.Millisecond).Seconds()
}

// sayNext shows what to do with Millhand now.
func (d *demo) sayNext() {
	s := d.screen
	s.print("\n")
	s.say("A dead job keeps its payload and the error of every attempt. The last of a crash job was: %s", d.counts.clone().types["crash"].lastError)
	s.print("\n" + s.in(bold, "Try next:") + "\n")
	for _, next := range []struct{ what, command string }{
		{"A worker with a broker that keeps its data:", "go run ./cmd/worker"},
		{"In another terminal, a job that needs three attempts:", `go run ./cmd/enqueue flaky '{"fail":2}' --wait`},
		{"A type of your own, which runs a command:", "go run ./cmd/worker --exec hello='echo hello'"},
	} {
		s.print("  " + next.what + "\n    " + s.in(bold, next.command) + "\n")
	}
}
