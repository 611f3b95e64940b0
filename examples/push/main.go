// Command push calls a rate-limited API with many jobs in each call. The jobs are those of a queue: each has its own retries
// and its own end. The rate is the cluster's: any number of these processes make no more than so many calls a second.
//
//	go run ./examples/push
//	go run ./examples/push --server nats://127.0.0.1:4222
//
// The API is a function here. It refuses a whole call that has a broken phone number in it, so the calls are halved until those
// fail alone, for good; and now and then it says that it is busy, so its jobs are run again later, each with its own backoff.
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
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/pipeline"
)

// A Push is a message to a user's phone.
type Push struct{ User, Text string }

// Type implements millhand.Args.
func (Push) Type() string { return "push" }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	server := flag.String("server", "", "`URL` of a broker; without it there is one in memory, for 200 pushes")
	flag.Parse()
	if err := run(ctx, os.Stdout, *server); err != nil {
		fmt.Fprintln(os.Stderr, "push:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, server string) error {
	var opts []nats.Option
	if server == "" {
		dir, err := os.MkdirTemp("", "millhand-push-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }() // temporary anyway
		b, err := broker.Start(broker.Config{Store: dir, Port: -1})
		if err != nil {
			return err
		}
		defer b.Shutdown()
		opts = append(opts, nats.InProcessServer(b))
	}
	nc, err := nats.Connect(server, append(opts, millhand.ConnectOptions(slog.New(slog.DiscardHandler))...)...)
	if err != nil {
		return err
	}
	defer nc.Close()
	c, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		return err
	}
	if server != "" {
		return push(ctx, nc, new(api))
	}
	refs, err := enqueue(ctx, c)
	if err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	phones, ended := new(api), make(chan error, 1)
	var pushing sync.WaitGroup
	pushing.Go(func() { ended <- push(working, nc, phones) })
	err = report(ctx, out, c, refs)
	stop()
	pushing.Wait()
	if err = errors.Join(err, <-ended); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d pushed in %d calls\n", phones.pushed.Load(), phones.calls.Load())
	return err
}

// push runs the pipeline.
func push(ctx context.Context, nc *nats.Conn, phones *api) error {
	log := millhand.Config{Logger: slog.New(slog.DiscardHandler)}
	jobs, err := millhand.NewJobSource[Push](nc, millhand.JobSourceConfig{Config: log, InFlight: 500})
	if err != nil {
		return err
	}
	limit, err := millhand.NewRate(nc, "push-api", log)
	if err != nil {
		return err
	}
	defer func() { _ = limit.Close() }() // what was not given back ends by itself
	calls := pipeline.NewBatcher(pipeline.BatcherConfig[Push]{
		Name: "calls", Size: 50, Wait: 100 * time.Millisecond, Concurrency: 4,
		Handle: func(ctx context.Context, b *pipeline.Batch[Push]) error {
			if _, err := limit.Take(ctx, 1); err != nil {
				return err
			}
			switch err := phones.send(b.Items); {
			case errors.Is(err, errBusy):
				return millhand.RetryAfter(time.Second, err) // nobody's fault: each job is retried
			case err != nil:
				return millhand.Permanent(err)
			}
			return nil
		},
	})
	p, err := pipeline.New(pipeline.Config[*millhand.Job[Push]]{
		Name: "push", Source: jobs, Batchers: []pipeline.AnyBatcher{calls}, OnFailure: pipeline.Failure{Bisect: true}, Logger: log.Logger,
		Process: func(_ context.Context, m *pipeline.Message[*millhand.Job[Push]]) error {
			calls.Add(m, m.Value.Args)
			return nil
		},
	})
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// api is what pushes, and what it has counted.
type api struct{ calls, pushed atomic.Int64 }

var (
	errBusy   = errors.New("429 Too Many Requests")
	errNumber = errors.New("400 Bad Request: no such number")
)

func (a *api) send(pushes []Push) error {
	if a.calls.Add(1) == 3 {
		return errBusy
	}
	if slices.ContainsFunc(pushes, func(p Push) bool { return p.User == "" }) {
		return errNumber
	}
	a.pushed.Add(int64(len(pushes)))
	return nil
}

// enqueue has 200 pushes made, three of them for nobody, and at most 50 calls a second.
func enqueue(ctx context.Context, c *millhand.Client) ([]millhand.Ref, error) {
	if err := c.SetQuota(ctx, millhand.Quota{Key: "push-api", Limit: 50, Per: time.Second}); err != nil {
		return nil, err
	}
	requests := make([]millhand.Request, 200)
	for i := range requests {
		p := Push{User: fmt.Sprintf("user-%d", i), Text: "hello"}
		if i%80 == 7 {
			p.User = ""
		}
		requests[i].Args = p
	}
	return c.EnqueueMany(ctx, requests)
}

// report waits for all of them, and prints how they ended.
func report(ctx context.Context, out io.Writer, c *millhand.Client, refs []millhand.Ref) error {
	ends := make(map[millhand.State]int)
	retried := 0
	for _, r := range refs {
		i, err := c.Await(ctx, r)
		if err != nil && !errors.Is(err, millhand.ErrFailed) {
			return err
		}
		ends[i.State]++
		if i.Attempt > 1 {
			retried++
		}
	}
	_, err := fmt.Fprintf(out, "%d succeeded, %d are dead; retried: %t\n", ends[millhand.Succeeded], ends[millhand.Dead], retried > 0)
	return err
}
