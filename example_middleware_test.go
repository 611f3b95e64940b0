package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/millhand/millhand"
)

// Middleware sees every run of every type: here it measures them, and tells how they end.
func ExampleMux_Use() {
	nc, stop := connect()
	defer stop()

	mux := millhand.NewMux()
	mux.Use(func(next millhand.HandlerFunc) millhand.HandlerFunc {
		return func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			begin := time.Now()
			result, err := next(ctx, j)
			fmt.Printf("%s, attempt %d: %s, in less than a minute: %t\n", j.Type, j.Attempt, j.Outcome(ctx, err), time.Since(begin) < time.Minute)
			return result, err
		}
	})
	millhand.Handle(mux, func(_ context.Context, j *millhand.Job[Resize]) error {
		if j.Attempt == 1 {
			return millhand.RetryAfter(time.Millisecond, fmt.Errorf("no room for %s", j.Args.Image))
		}
		return nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	client := newClient(nc)
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: 200})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Await(ctx, ref); err != nil {
		log.Fatal(err)
	}
	// Output:
	// resize, attempt 1: retrying, in less than a minute: true
	// resize, attempt 2: succeeded, in less than a minute: true
}

// What is encrypted when it is enqueued is decrypted before it is decoded: the broker never has
// the payload in clear.
func ExampleClient_Use() {
	nc, stop := connect()
	defer stop()
	cipher := func(text []byte) { // no more than an example of one
		for i := range text {
			text[i] ^= 0x55
		}
	}

	mux := millhand.NewMux()
	mux.Use(func(next millhand.HandlerFunc) millhand.HandlerFunc {
		return func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			cipher(j.Args.Payload)
			return next(ctx, j)
		}
	})
	millhand.Handle(mux, func(_ context.Context, j *millhand.Job[Resize]) error {
		fmt.Println(j.Args.Image, j.Meta["tenant"])
		return nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	client := newClient(nc)
	client.Use(func(next millhand.EnqueueFunc) millhand.EnqueueFunc {
		return func(ctx context.Context, jobs []*millhand.Draft) error {
			for _, d := range jobs {
				cipher(d.Payload)
				d.Meta["tenant"] = "acme"
			}
			return next(ctx, jobs)
		}
	})
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: 200})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Await(ctx, ref); err != nil {
		log.Fatal(err)
	}
	// Output: cat.jpg acme
}

// A job carries the trace that its caller is in; a propagator of OpenTelemetry writes and reads
// such a map.
func ExampleWithTrace() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	millhand.Handle(mux, func(_ context.Context, j *millhand.Job[Resize]) error {
		fmt.Println(j.Trace["traceparent"])
		return nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	client := newClient(nc)
	trace := map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: 200}, millhand.WithTrace(trace))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Await(ctx, ref); err != nil {
		log.Fatal(err)
	}
	// Output: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
}
