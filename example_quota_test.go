package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
)

// A quota holds across all workers and can be changed while they run.
func ExampleClient_SetQuota() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	for _, q := range []millhand.Quota{
		{Type: "resize", Limit: 4},                                   // at most 4 at once
		{Type: "email", Limit: 100, Per: time.Minute},                // at most 100 starts in any minute
		{Key: "crm-api", Types: []string{"sync", "push"}, Limit: 10}, // both types together
		{Queue: "low", Limit: 2},                                     // whatever comes from that queue
	} {
		if err := client.SetQuota(ctx, q); err != nil {
			log.Fatal(err)
		}
	}
	quotas, err := client.Quotas(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, q := range quotas {
		fmt.Println(q.Type+q.Key+q.Queue, q.Limit, q.Per, q.Types)
	}
	// Output:
	// email 100 1m0s []
	// resize 4 0s []
	// low 2 0s []
	// crm-api 10 0s [push sync]
}

// What a person sets stays, also when workers restart with another limit in their configuration,
// until it is handed back.
func ExampleClient_ResetQuota() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[Resize]) error { return nil })
	config := millhand.WorkerConfig{Mux: mux, Quotas: []millhand.Quota{{Type: "resize", Limit: 10}}}
	show := func() {
		quotas, err := client.Quotas(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(quotas[0].Limit, quotas[0].Source)
	}
	restart(nc, client, config)
	show()
	if err := client.SetQuota(ctx, millhand.Quota{Type: "resize", Limit: 2}); err != nil { // an emergency
		log.Fatal(err)
	}
	restart(nc, client, config)
	show()
	if err := client.ResetQuota(ctx, millhand.Quota{Type: "resize"}); err != nil { // it is over
		log.Fatal(err)
	}
	restart(nc, client, config)
	show()
	// Output:
	// 10 config
	// 2 person
	// 10 config
}

// restart runs a worker until a job of it has ended.
func restart(nc *nats.Conn, client *millhand.Client, config millhand.WorkerConfig) {
	config.Config = quiet()
	w, err := millhand.NewWorker(nc, config)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	ref, err := client.Enqueue(context.Background(), Resize{})
	if err == nil {
		_, err = client.Await(context.Background(), ref)
	}
	stop()
	if err = errors.Join(err, <-ended); err != nil {
		log.Fatal(err)
	}
}

// A caller who would rather be refused than wait says so.
func ExampleWithRejectAtQuota() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	if err := client.SetQuota(ctx, millhand.Quota{Type: "resize", Limit: 1}); err != nil {
		log.Fatal(err)
	}
	for _, image := range []string{"mill.jpg", "wheel.jpg"} {
		_, err := client.Enqueue(ctx, Resize{Image: image}, millhand.WithRejectAtQuota())
		if full, ok := errors.AsType[*millhand.QuotaError](err); ok {
			fmt.Printf("%s: %v\n", image, full)
		} else if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// wheel.jpg: resize quota reached (1 of 1 running)
}
