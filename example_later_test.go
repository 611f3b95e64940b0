package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/millhand/millhand"
)

// A job can wait before it runs, by the broker's clock.
func ExampleWithDelay() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg"}, millhand.WithDelay(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	info, err := client.Get(ctx, ref)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.State, "for", info.RunAt.Sub(info.EnqueuedAt))
	// Output: scheduled for 1h0m0s
}

// A job can wait until a time. One that has passed is no wait.
func ExampleWithRunAt() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	christmas := time.Date(time.Now().Year()+1, 12, 24, 18, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{christmas, christmas.AddDate(-10, 0, 0)} {
		ref, err := client.Enqueue(ctx, Resize{Image: "tree.jpg"}, millhand.WithRunAt(at))
		if err != nil {
			log.Fatal(err)
		}
		info, err := client.Get(ctx, ref)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(info.State, info.RunAt.Equal(at))
	}
	// Output:
	// scheduled true
	// ready false
}

// What is of no use later need not run later: a job that was not started in time ends as dead.
func ExampleWithExpires() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg"}, millhand.WithExpires(time.Second))
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Await(ctx, ref) // no worker runs
	if failed, ok := errors.AsType[*millhand.FailedError](err); ok {
		fmt.Println(failed.Reason, "-", failed.Message)
	}
	// Output: expired - not started within 1s
}

// A job that waits for its time can be given another one.
func ExampleClient_Move() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg"}, millhand.WithDelay(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	newYear := time.Date(time.Now().Year()+1, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := client.Move(ctx, ref, newYear); err != nil {
		log.Fatal(err)
	}
	info, err := client.Get(ctx, ref)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.State, info.RunAt.Equal(newYear))
	// Output: scheduled true
}

// A job need not wait for its time, or for its next attempt.
func ExampleClient_RunNow() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[Resize]) error { return nil })
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client := newClient(nc)
	ctx := context.Background()
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg"}, millhand.WithDelay(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	if err := client.RunNow(ctx, ref); err != nil {
		log.Fatal(err)
	}
	info, err := client.Await(ctx, ref)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.State)

	err = client.RunNow(ctx, ref)
	if ended, ok := errors.AsType[*millhand.FinishedError](err); ok {
		fmt.Println("again:", ended.State, "already")
	}
	// Output:
	// succeeded
	// again: succeeded already
}
