package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/millhand/millhand"
)

// How jobs of a type are run stands beside their handler.
func ExampleTypeConfig() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	millhand.Handle(mux, func(ctx context.Context, _ *millhand.Job[Resize]) error {
		<-ctx.Done() // it takes too long
		return context.Cause(ctx)
	}, millhand.TypeConfig{
		Timeout:     10 * time.Millisecond,
		MaxAttempts: 2,
		Backoff:     millhand.Backoff{Initial: time.Millisecond},
		Quotas:      []millhand.Quota{{Limit: 5}}, // at once, across all workers
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	client := newClient(nc)
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: 200})
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Await(ctx, ref)
	if failed, ok := errors.AsType[*millhand.FailedError](err); ok {
		fmt.Println(failed.Reason, "after", failed.Attempts, "attempts:", failed.Message)
	}
	// Output: exhausted after 2 attempts: timed out after 10ms: millhand: job timed out
}

// A worker serves several queues. Here jobs of "reports" have one of four slots while others
// wait, and never more than two.
func ExampleQueue() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	millhand.Handle(mux, func(_ context.Context, j *millhand.Job[Resize]) error {
		fmt.Println("a job of", j.Queue)
		return nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux, Concurrency: 8, Queues: []millhand.Queue{
		{Name: "default", Weight: 3},
		{Name: "reports", Weight: 1, Concurrency: 2},
	}})()

	ctx := context.Background()
	client := newClient(nc)
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: 200}, millhand.WithQueue("reports"))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Await(ctx, ref); err != nil {
		log.Fatal(err)
	}
	// Output: a job of reports
}
