// Command checksum makes every Go file of the Go toolchain's source tree a job that computes its SHA-256, has two workers
// do them, of which one is stopped without patience in the middle and started again, and compares all results with sums
// of its own.
//
//	go run ./examples/checksum             all of them, several thousand
//	go run ./examples/checksum -n 500      the first ones
//
// Everything is in this process, with a broker in a temporary directory. The same with the two commands, for
// which a job type needs no code, one a terminal:
//
//	worker --exec checksum='xargs sha256sum' -c 16
//	worker --exec checksum='xargs sha256sum' -c 16
//	find "$(go env GOROOT)/src" -name '*.go' | sed 's/.*/{"payload":"&"}/' | enqueue checksum --from - --wait
//
// A worker may be killed there with SIGKILL: what it had in hand runs on the other one when its lease ends, which is
// after 30 s, and only that runs twice.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

func main() {
	limit := flag.Int("n", 0, "how many files; 0: all")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "checksum:", err)
		os.Exit(1)
	}
}

// run does it all and prints a summary. A wrong sum is an error.
func run(ctx context.Context, out io.Writer, limit int) (err error) {
	files, err := goFiles(ctx, limit)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "millhand-checksum-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // temporary anyway
	b, err := broker.Start(broker.Config{Store: dir, Port: -1})
	if err != nil {
		return err
	}
	defer b.Shutdown()
	nc, err := nats.Connect("", nats.InProcessServer(b))
	if err != nil {
		return err
	}
	defer nc.Close()
	client, err := millhand.NewClient(nc, quiet())
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	middle, halfway := context.WithCancel(ctx)
	defer halfway()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop(nil)
	inBackground := func(work func() error) {
		wg.Go(func() {
			if err := work(); err != nil {
				stop(err)
			}
		})
	}
	inBackground(func() error { return work(ctx, b) })
	inBackground(func() error {
		if err := work(middle, b); err != nil {
			return err
		}
		return work(ctx, b) // again
	})
	start := time.Now()
	results := newResults(start)
	inBackground(func() error { return results.enqueue(ctx, client, files) })
	if err := results.collect(ctx, client, len(files), halfway); err != nil {
		return err
	}
	return results.check(out, files, time.Since(start))
}

// quiet keeps the log of what goes right out of the summary.
func quiet() millhand.Config {
	return millhand.Config{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
}
