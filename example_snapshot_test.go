package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/millhand/millhand"
)

// How many jobs there are, and of which it is known exactly.
func ExampleClient_Snapshot() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	for _, image := range []string{"mill.jpg", "miller.jpg"} {
		if _, err := client.Enqueue(ctx, Resize{Image: image}); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := client.Enqueue(ctx, Resize{Image: "grain.jpg"}, millhand.WithDelay(time.Hour)); err != nil {
		log.Fatal(err)
	}
	snapshot, err := client.Snapshot(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, q := range snapshot.Queues {
		fmt.Println(q.Name, q.Ready.Value, q.Ready.How, q.Later.Value)
		for _, t := range q.Types {
			fmt.Println(t.Name, t.Ready.Value, t.Workers)
		}
	}
	// Output:
	// default 2 exact 1
	// resize 2 0
}

// What a job waits for, and what helps.
func ExampleClient_Why() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	ref, err := client.Enqueue(ctx, Resize{Image: "mill.jpg"}, millhand.WithID("mill"))
	if err != nil {
		log.Fatal(err)
	}
	if err := client.Pause(ctx, "default"); err != nil {
		log.Fatal(err)
	}
	why, err := client.Why(ctx, ref)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(why.State, why.Blocked)
	for _, reason := range why.Reasons {
		fmt.Println(reason.Code)
	}
	for _, advice := range why.Advice {
		if advice.Command != "" {
			fmt.Println(advice.Command)
		}
	}
	// Output:
	// ready true
	// no_worker
	// queue_paused
	// millhand workers
	// millhand cancel default/resize/mill
	// millhand resume default
}
