// Command import imports a file of 100,000 lines as a workflow: it is fetched, loaded by a thousand jobs of which a few
// may fail, and summed up. A person approves, or does not in time; then it is published, and announced after an
// embargo. If it is cancelled before that, the publication is undone.
//
//	go run ./examples/import               100,000 lines
//	go run ./examples/import -n 5000       fewer
//
// The workers are processes. One of them is killed (SIGKILL) while it loads, and another one started in its place. At
// the end the program compares what was published with the file: no line is missing and none is there twice.
//
// Everything else is in this process, with a broker in a temporary directory. With a broker of your own, see how far an
// import is with
//
//	millhand workflow show import-1
//	millhand workflow signal import-1 approved '{"By":"ada"}'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

// lease is how long a worker's jobs are its own without a sign of life.
const lease = 3 * time.Second

func main() {
	lines := flag.Int("n", 100_000, "how many lines the file has")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := play(ctx, os.Stdout, *lines); err != nil {
		fmt.Fprintln(os.Stderr, "import:", err)
		os.Exit(1)
	}
}

// play is a worker's process if its environment says so, and else the example.
func play(ctx context.Context, out io.Writer, lines int) error {
	if url := os.Getenv(brokerEnv); url != "" {
		return work(ctx, url, site(os.Getenv(siteEnv)))
	}
	return run(ctx, out, lines)
}

// run plays three imports.
func run(ctx context.Context, out io.Writer, lines int) (err error) {
	dir, err := os.MkdirTemp("", "millhand-import-site-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b, stopBroker, err := broker.StartTemporary("import", broker.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopBroker()) }()
	nc, err := nats.Connect("", nats.InProcessServer(b))
	if err != nil {
		return err
	}
	defer nc.Close()
	client, err := millhand.NewClient(nc, quiet())
	if err != nil {
		return err
	}
	source, err := newSource(lines)
	if err != nil {
		return err
	}
	defer source.close()
	s := &scene{Client: client, source: source, site: site(dir), url: b.ClientURL(), out: out}
	for range 2 {
		if err := s.addWorker(ctx); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, s.killAll()) }()
	for _, play := range []func(context.Context) error{s.killed, s.cancelled, s.unapproved} {
		if err := play(ctx); err != nil {
			return err
		}
	}
	return nil
}

// A scene is a client of the broker, and the processes of two workers.
type scene struct {
	*millhand.Client
	source  *source
	site    site
	url     string
	out     io.Writer
	workers []*process
}

func (s *scene) say(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format+"\n", args...) } // to look at

func (s *scene) addWorker(ctx context.Context) error {
	w, err := startWorker(ctx, s.url, s.site)
	if err == nil {
		s.workers = append(s.workers, w)
	}
	return err
}

func (s *scene) killAll() (err error) {
	for _, w := range s.workers {
		err = errors.Join(err, w.kill())
	}
	return err
}

// killed kills a worker when a third is loaded. The import goes on.
func (s *scene) killed(ctx context.Context) error {
	ref, err := s.Start(ctx, newImport(order{name: "import-1", url: s.source.url, size: s.source.size, decide: time.Hour, embargo: 100 * time.Millisecond}))
	if err != nil {
		return err
	}
	loading, err := s.until(ctx, ref, "load", func(step *millhand.StepInfo) bool { return step.Done > step.Total/3 })
	if err != nil {
		return err
	}
	if err := s.workers[0].kill(); err != nil {
		return err
	}
	s.workers = s.workers[1:]
	if err := s.addWorker(ctx); err != nil {
		return err
	}
	s.say("import-1: a worker is killed while it loads %d parts", loading.Total)
	if _, err := s.until(ctx, ref, "report", hasSucceeded); err != nil {
		return err
	}
	if err := s.Signal(ctx, ref, "approved", approval{By: "ada"}); err != nil {
		return err
	}
	if _, err := s.Await(ctx, ref); err != nil {
		return err
	}
	sum, err := millhand.AwaitResult[loaded](ctx, s.Client, millhand.Ref{ID: ref.ID + "--report", Type: report{}.Type(), Queue: ref.Queue})
	if err != nil {
		return err
	}
	s.say("import-1: %d rows, %d lines rejected, %d parts lost", sum.Rows, sum.Rejected, len(sum.Lost))
	return s.source.check(s.site.public(ref.ID), &sum)
}

// cancelled cancels an import that is published and not yet announced.
func (s *scene) cancelled(ctx context.Context) error {
	ref, err := s.Start(ctx, newImport(order{name: "import-2", url: s.source.url, size: s.source.size, decide: time.Hour, embargo: time.Hour}))
	if err != nil {
		return err
	}
	if err := s.Signal(ctx, ref, "approved", approval{By: "ada"}); err != nil { // before anything waits for it
		return err
	}
	if _, err := s.until(ctx, ref, "publish", hasSucceeded); err != nil {
		return err
	}
	if _, err := s.Cancel(ctx, ref); err != nil {
		return err
	}
	if _, err := s.Await(ctx, ref); !errors.Is(err, millhand.ErrCancelled) {
		return fmt.Errorf("import-2 was cancelled, and ends with: %w", err)
	}
	s.say("import-2: cancelled after its publication, which is withdrawn")
	return s.nothingOf(ref)
}

// unapproved has nobody approve.
func (s *scene) unapproved(ctx context.Context) error {
	ref, err := s.Start(ctx, newImport(order{name: "import-3", url: s.source.url, size: s.source.size, decide: 100 * time.Millisecond, embargo: time.Hour}))
	if err != nil {
		return err
	}
	info, err := s.Await(ctx, ref)
	if !errors.Is(err, millhand.ErrFailed) {
		return fmt.Errorf("nobody approved import-3, and it ends with: %w", err)
	}
	s.say("import-3: %s, since nobody approved", info.State)
	return s.nothingOf(ref)
}

// nothingOf returns an error if anything is left of an import.
func (s *scene) nothingOf(ref millhand.Ref) error {
	left, err := filepath.Glob(filepath.Join(string(s.site), "*", ref.ID+"*"))
	more, err2 := filepath.Glob(filepath.Join(string(s.site), ref.ID+"*"))
	if left = append(left, more...); len(left) > 0 {
		return fmt.Errorf("there is left of it: %v", left)
	}
	return errors.Join(err, err2)
}

func hasSucceeded(step *millhand.StepInfo) bool { return step.State == millhand.StepSucceeded }

// until looks at a step of a workflow until it is as it is to be.
func (s *scene) until(ctx context.Context, ref millhand.Ref, name string, is func(*millhand.StepInfo) bool) (millhand.StepInfo, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := s.GetWorkflow(ctx, ref)
		if err != nil {
			return millhand.StepInfo{}, err
		}
		for i := range info.Steps {
			if step := &info.Steps[i]; step.Name == name && is(step) {
				return *step, nil
			}
		}
		if info.State.Final() {
			return millhand.StepInfo{}, fmt.Errorf("%s is %s before its step %s is done: %s", ref.ID, info.State, name, info.LastError())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return millhand.StepInfo{}, ctx.Err()
		}
	}
}

// quiet keeps log lines about normal operation out of what is shown.
func quiet() millhand.Config {
	return millhand.Config{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
}
