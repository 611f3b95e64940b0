package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"sync/atomic"
	"time"

	"github.com/millhand/millhand"
)

// mail has a mail server that is down until it is repaired, and three jobs that died of it.
func mail() (client *millhand.Client, repair, stop func()) {
	nc, disconnect := connect()
	mux := millhand.NewMux()
	var up atomic.Bool
	millhand.Handle(mux, func(context.Context, *millhand.Job[Resize]) error {
		if !up.Load() {
			return millhand.Permanent(errors.New("mail server is down"))
		}
		return nil
	})
	stopWorker := work(nc, millhand.WorkerConfig{Mux: mux, Concurrency: 1})
	client = newClient(nc)
	ctx := context.Background()
	for _, image := range []string{"a.jpg", "b.jpg", "c.jpg"} {
		ref, err := client.Enqueue(ctx, Resize{Image: image}, millhand.WithID(image[:1]))
		if err != nil {
			log.Fatal(err)
		}
		if _, err := client.Await(ctx, ref); !errors.Is(err, millhand.ErrFailed) {
			log.Fatal(err)
		}
	}
	var err error
	for n := 0; n < 3; { // the end of a job is known a moment before its record
		if n, err = client.CountDead(ctx, millhand.DeadFilter{}); err != nil {
			log.Fatal(err)
		}
	}
	return client, func() { up.Store(true) }, func() {
		stopWorker()
		disconnect()
	}
}

// Dead jobs are kept whole: what they were, and how each attempt went.
func ExampleClient_Dead() {
	client, _, stop := mail()
	defer stop()
	ctx := context.Background()
	for d, err := range client.Dead(ctx, millhand.DeadFilter{Error: "mail server"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %s %s: %s\n", d.ID, d.Payload, d.Reason, d.LastError())
	}
	// Unordered output:
	// a {"image":"a.jpg","width":0} permanent: mail server is down
	// b {"image":"b.jpg","width":0} permanent: mail server is down
	// c {"image":"c.jpg","width":0} permanent: mail server is down
}

// A dead job runs again under its id. To requeue it twice is to do it once.
func ExampleClient_Requeue() {
	client, repair, stop := mail()
	defer stop()
	repair()
	ctx := context.Background()
	for d, err := range client.Dead(ctx, millhand.DeadFilter{ID: "b"}) {
		if err != nil {
			log.Fatal(err)
		}
		ref, err := client.Requeue(ctx, d, millhand.WithTimeout(time.Minute))
		if err != nil {
			log.Fatal(err)
		}
		again, err := client.Requeue(ctx, d)
		if err != nil {
			log.Fatal(err)
		}
		info, err := client.Await(ctx, ref)
		fmt.Println(info.ID, info.State, err, again == ref)
	}
	left, err := client.CountDead(ctx, millhand.DeadFilter{})
	fmt.Println(left, "are dead", err)
	// Output:
	// b succeeded <nil> true
	// 2 are dead <nil>
}

// All that died of one cause run again, spread over a while, once the cause is mended.
func ExampleClient_RequeueDead() {
	client, repair, stop := mail()
	defer stop()
	repair()
	ctx := context.Background()
	spread := millhand.RequeueConfig{Spread: 100 * time.Millisecond}
	for ref, err := range client.RequeueDead(ctx, millhand.DeadFilter{Type: "resize", Error: "mail server"}, spread) {
		if err != nil {
			fmt.Println(ref.ID, err)
			continue
		}
		info, err := client.Await(ctx, ref)
		fmt.Println(info.ID, info.State, err)
	}
	// Unordered output:
	// a succeeded <nil>
	// b succeeded <nil>
	// c succeeded <nil>
}

// What nobody needs any more is removed for good.
func ExampleClient_PurgeDead() {
	client, _, stop := mail()
	defer stop()
	ctx := context.Background()
	fmt.Println(client.PurgeDead(ctx, millhand.DeadFilter{ID: "a"}))
	fmt.Println(client.PurgeDead(ctx, millhand.DeadFilter{Reason: millhand.ReasonPermanent}))
	fmt.Println(client.CountDead(ctx, millhand.DeadFilter{}))
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 0 <nil>
}
