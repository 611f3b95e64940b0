package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program

	"github.com/millhand/millhand"
)

// Who works on what, as the workers say when they are asked.
func ExampleClient_Running() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	started, finish := make(chan struct{}), make(chan struct{})
	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[Resize]) error {
		close(started)
		<-finish
		return nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux, Name: "miller"})()
	defer close(finish)
	ref, err := client.Enqueue(ctx, Resize{Image: "mill.jpg"}, millhand.WithID("mill"))
	if err != nil {
		log.Fatal(err)
	}
	<-started
	running, err := client.Running(ctx, "resize")
	if err != nil {
		log.Fatal(err)
	}
	owner, err := client.FindRunning(ctx, ref)
	if err != nil {
		log.Fatal(err)
	}
	workers, err := client.Workers(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(running), running[0].ID, owner.Worker == running[0].Worker)
	fmt.Println(len(workers), workers[0].Name, workers[0].State)
	// Output:
	// 1 mill true
	// 1 miller working
}
