package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/millhand/millhand"
)

// A handler's errors say what follows: a retry with backoff, unless they say otherwise.
func ExampleHandle() {
	nc, stop := connect()
	defer stop()

	mux := millhand.NewMux()
	millhand.Handle(mux, func(_ context.Context, j *millhand.Job[Resize]) error {
		switch {
		case j.Args.Width <= 0:
			return millhand.Permanent(fmt.Errorf("width %d makes no sense", j.Args.Width))
		case j.Attempt < 3:
			return millhand.RetryAfter(time.Millisecond, errors.New("image server is busy"))
		}
		return nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	client := newClient(nc)
	for _, width := range []int{200, -1} {
		ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: width})
		if err != nil {
			log.Fatal(err)
		}
		info, err := client.Await(ctx, ref)
		if failed, ok := errors.AsType[*millhand.FailedError](err); ok {
			fmt.Println(info.State, failed.Reason, failed.Message)
			continue
		}
		fmt.Println(info.State, "at attempt", info.Attempt)
	}
	// Output:
	// succeeded at attempt 3
	// dead permanent width -1 makes no sense
}

// What cannot be done yet is done later, and no attempt is counted.
func ExampleSnooze() {
	nc, stop := connect()
	defer stop()
	calls := 0
	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[Resize]) error {
		if calls++; calls < 3 {
			return millhand.Snooze(time.Millisecond)
		}
		return nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	client := newClient(nc)
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg"})
	if err != nil {
		log.Fatal(err)
	}
	info, err := client.Await(ctx, ref)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(calls, "calls,", info.State, "at attempt", info.Attempt)
	// Output: 3 calls, succeeded at attempt 1
}
