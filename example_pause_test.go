package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"
)

// A queue that is paused keeps its jobs until it is resumed.
func ExampleClient_Paused() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	if err := client.Pause(ctx, "low"); err != nil {
		log.Fatal(err)
	}
	paused, err := client.Paused(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for queue, since := range paused {
		fmt.Println(queue, time.Since(since) < time.Minute)
	}
	if err := client.Resume(ctx, "low"); err != nil {
		log.Fatal(err)
	}
	// Output:
	// low true
}
