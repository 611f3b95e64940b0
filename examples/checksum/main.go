// Command checksum enqueues a job for every Go file of the Go toolchain's source tree. Each job computes the file's
// SHA-256. Two workers run the jobs. One of them is stopped in the middle, without time to drain, and started again. At
// the end the program compares all results with sums that it computes itself.
//
//	go run ./examples/checksum             all files, several thousand
//	go run ./examples/checksum -n 500      the first 500
//
// Everything runs in this process, with a broker in a temporary directory. The two commands can do the same without any
// code for the job type. Run each in a terminal of its own:
//
//	worker --exec checksum='xargs sha256sum' -c 16
//	worker --exec checksum='xargs sha256sum' -c 16
//	find "$(go env GOROOT)/src" -name '*.go' | sed 's/.*/{"payload":"&"}/' | enqueue checksum --from - --wait
//
// There you can kill a worker with SIGKILL. The jobs it had in hand run on the other worker when their leases end, after
// 30 s, and only those jobs run twice.
package main

import (
	"context"
	"errors"
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

// run runs the whole example and prints a summary. A wrong sum is an error.
func run(ctx context.Context, out io.Writer, limit int) (err error) {
	files, err := goFiles(ctx, limit)
	if err != nil {
		return err
	}
	b, stopBroker, err := broker.StartTemporary("checksum", broker.Config{})
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

// quiet keeps log lines about normal operation out of the summary.
func quiet() millhand.Config {
	return millhand.Config{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
}
