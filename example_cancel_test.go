package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/millhand/millhand"
)

// A job that runs is told to end, and one that waits is gone.
func ExampleClient_Cancel() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	started := make(chan struct{})
	mux := millhand.NewMux()
	millhand.Handle(mux, func(ctx context.Context, _ *millhand.Job[Resize]) error {
		close(started)
		<-ctx.Done()
		fmt.Println("told:", errors.Is(context.Cause(ctx), millhand.ErrCancelled))
		return ctx.Err()
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	runs, err := client.Enqueue(ctx, Resize{Image: "mill.jpg"})
	if err != nil {
		log.Fatal(err)
	}
	waits, err := client.Enqueue(ctx, Resize{Image: "dam.jpg"}, millhand.WithDelay(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	<-started
	for _, ref := range []millhand.Ref{runs, waits} {
		done, err := client.Cancel(ctx, ref, millhand.WithGrace(5*time.Second), millhand.WithReason("another size is wanted"))
		if err != nil {
			log.Fatal(err)
		}
		info, err := client.Await(ctx, ref)
		fmt.Println("ran:", done.Worker != "", info.State, info.Reason, errors.Is(err, millhand.ErrCancelled))
	}
	_, err = client.Cancel(ctx, waits)
	if finished, ok := errors.AsType[*millhand.FinishedError](err); ok {
		fmt.Println("again:", finished.State)
	}
	// Output:
	// told: true
	// ran: true cancelled requested true
	// ran: false cancelled requested true
	// again: cancelled
}

// All jobs of a type that wait for their time.
func ExampleClient_CancelMany() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	for i := range 3 {
		image := fmt.Sprintf("%d.jpg", i)
		if _, err := client.Enqueue(ctx, Resize{Image: image}, millhand.WithDelay(time.Hour)); err != nil {
			log.Fatal(err)
		}
	}
	filter := millhand.JobFilter{Type: "resize", States: []millhand.State{millhand.Scheduled}}
	n := 0
	for done, err := range client.CancelMany(ctx, filter, millhand.WithReason("wrong size")) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(done.Worker == "", len(done.Unanswered))
		n++
	}
	fmt.Println(n, "cancelled")
	// Output:
	// true 0
	// true 0
	// true 0
	// 3 cancelled
}

// A handler that stops something else gives it as long as it has itself.
func ExampleGrace() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	started := make(chan struct{})
	mux := millhand.NewMux()
	millhand.Handle(mux, func(ctx context.Context, _ *millhand.Job[Resize]) error {
		close(started)
		<-ctx.Done()
		fmt.Println("the image server has", millhand.Grace(ctx))
		return ctx.Err()
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	ref, err := client.Enqueue(ctx, Resize{Image: "mill.jpg"})
	if err != nil {
		log.Fatal(err)
	}
	<-started
	if _, err := client.Cancel(ctx, ref, millhand.WithGrace(3*time.Second)); err != nil {
		log.Fatal(err)
	}
	info, _ := client.Await(ctx, ref)
	fmt.Println(info.State)
	// Output:
	// the image server has 3s
	// cancelled
}
