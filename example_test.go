package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

// Resize is a payload. It travels as JSON, and its type names the job's handler.
type Resize struct {
	Image string `json:"image"`
	Width int    `json:"width"`
}

// Type implements millhand.Args.
func (Resize) Type() string { return "resize" }

// connect returns a connection to a broker that lives as long as the example; a program
// would connect to its NATS server.
func connect() (nc *nats.Conn, stop func()) {
	dir, err := os.MkdirTemp("", "millhand-example-")
	if err != nil {
		log.Fatal(err)
	}
	b, err := broker.Start(broker.Config{Store: dir})
	if err != nil {
		log.Fatal(err)
	}
	nc, err = nats.Connect("", append(millhand.ConnectOptions(nil), nats.InProcessServer(b))...)
	if err != nil {
		log.Fatal(err)
	}
	return nc, func() {
		nc.Close()
		b.Shutdown()
		_ = os.RemoveAll(dir)
	}
}

// quiet keeps the log out of the examples' output.
func quiet() millhand.Config { return millhand.Config{Logger: slog.New(slog.DiscardHandler)} }

// work runs a worker in the background until stop is called.
func work(nc *nats.Conn, cfg millhand.WorkerConfig) (stop func()) {
	cfg.Config = quiet()
	w, err := millhand.NewWorker(nc, cfg)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			log.Fatal(err)
		}
	}
}

func Example() {
	nc, stop := connect()
	defer stop()

	mux := millhand.NewMux()
	millhand.HandleResult(mux, func(_ context.Context, j *millhand.Job[Resize]) (string, error) {
		return fmt.Sprintf("%s at %d px", j.Args.Image, j.Args.Width), nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	client, err := millhand.NewClient(nc, quiet())
	if err != nil {
		log.Fatal(err)
	}
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: 200})
	if err != nil {
		log.Fatal(err)
	}
	result, err := millhand.AwaitResult[string](ctx, client, ref)
	fmt.Println(result, err)
	// Output: cat.jpg at 200 px <nil>
}

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
	client, err := millhand.NewClient(nc, quiet())
	if err != nil {
		log.Fatal(err)
	}
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

// A chosen id makes an enqueue idempotent: while the job is alive there is no second one.
func ExampleWithID() {
	nc, stop := connect()
	defer stop()
	client, err := millhand.NewClient(nc, quiet())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for range 2 {
		_, err := client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: 200}, millhand.WithID("cat-200"))
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// millhand: job cat-200 of type resize is already in queue default
}

func ExampleClient_EnqueueMany() {
	nc, stop := connect()
	defer stop()
	client, err := millhand.NewClient(nc, quiet())
	if err != nil {
		log.Fatal(err)
	}
	refs, err := client.EnqueueMany(context.Background(), []millhand.Request{
		{Args: Resize{Image: "cat.jpg", Width: 200}},
		{Args: Resize{Image: "dog.jpg", Width: 200}, Options: []millhand.EnqueueOption{millhand.WithMaxAttempts(3)}},
		{Args: Resize{Image: "cow.jpg"}, Options: []millhand.EnqueueOption{millhand.WithQueue("no dots.please")}},
	})
	fmt.Println(refs[0].Type, refs[1].Queue, refs[2].ID == "")
	if failed, ok := errors.AsType[*millhand.BatchError](err); ok {
		fmt.Println(failed.Errs[2])
	}
	// Output:
	// resize default true
	// millhand: queue "no dots.please": only A-Z a-z 0-9 _ and - are allowed
}

// Get tells where a job is and how its attempts went.
func ExampleClient_Get() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	millhand.Handle(mux, func(_ context.Context, j *millhand.Job[Resize]) error {
		return fmt.Errorf("attempt %d: image server is down", j.Attempt)
	}, millhand.TypeConfig{MaxAttempts: 2, Backoff: millhand.Backoff{Initial: time.Millisecond}})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client, err := millhand.NewClient(nc, quiet())
	if err != nil {
		log.Fatal(err)
	}
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

// A type that is known at run time only is handled as bytes.
func ExampleMux_HandleFunc() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	mux.HandleFunc("shout", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		return append(j.Args.Payload, '!'), nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client, err := millhand.NewClient(nc, quiet())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	ref, err := client.Enqueue(ctx, millhand.Raw{Name: "shout", Payload: []byte("hello")})
	if err != nil {
		log.Fatal(err)
	}
	info, err := client.Await(ctx, ref)
	fmt.Println(string(info.Output()), err)
	// Output: hello! <nil>
}

// Events follows all jobs, from any process.
func ExampleClient_Events() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	millhand.Handle(mux, func(_ context.Context, j *millhand.Job[Resize]) error {
		if j.Attempt == 1 {
			return millhand.RetryAfter(0, errors.New("try again"))
		}
		return nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client, err := millhand.NewClient(nc, quiet())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	start := time.Now()
	if _, err := client.Enqueue(ctx, Resize{Image: "cat.jpg"}); err != nil {
		log.Fatal(err)
	}
	for e, err := range client.Events(ctx, start) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Type, e.Attempt, e.State, e.Error)
		if e.State.Final() {
			break
		}
	}
	// Output:
	// resize 1 retrying try again
	// resize 2 succeeded
}
