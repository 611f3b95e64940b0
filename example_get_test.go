package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/millhand/millhand"
)

// Get tells where a job is and how its attempts went.
func ExampleClient_Get() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	millhand.Handle(mux, func(_ context.Context, j *millhand.Job[Resize]) error {
		return fmt.Errorf("attempt %d: image server is down", j.Attempt)
	}, millhand.TypeConfig{MaxAttempts: 2, Backoff: millhand.Backoff{Initial: time.Millisecond}})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client := newClient(nc)
	ctx := context.Background()
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg"}, millhand.WithMeta("customer", "42"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Await(ctx, ref)
	fmt.Println(errors.Is(err, millhand.ErrFailed))
	info, err := client.Get(ctx, ref)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.State, info.Reason)
	for _, f := range info.Failures {
		fmt.Println(f.State, f.Error)
	}
	// Output:
	// true
	// dead exhausted
	// retrying attempt 1: image server is down
	// dead attempt 2: image server is down
}
