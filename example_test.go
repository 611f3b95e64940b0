package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/natstest"
)

// Resize is a payload. It travels as JSON, and its type names the job's handler.
type Resize struct {
	Image string `json:"image"`
	Width int    `json:"width"`
}

// Type implements millhand.Args.
func (Resize) Type() string { return "resize" }

// workers are those of the example that runs.
var workers *sync.WaitGroup

// connect returns a connection to a broker that lives as long as the example; a program
// would connect to its NATS server.
func connect() (nc *nats.Conn, stop func()) {
	dir, remove, err := natstest.NewStore() // a busy disk can take longer than an enqueue waits
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
	own := new(sync.WaitGroup)
	workers = own
	// A worker without jobs takes up to a second to stop, for which the next example does not wait.
	return nc, func() {
		natstest.Aside(func() {
			own.Wait()
			nc.Close()
			b.Shutdown()
			remove()
		})
	}
}

// quiet keeps the log out of the examples' output.
func quiet() millhand.Config { return millhand.Config{Logger: slog.New(slog.DiscardHandler)} }

// newClient returns a client that logs nothing.
func newClient(nc *nats.Conn) *millhand.Client {
	client, err := millhand.NewClient(nc, quiet())
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// work runs a worker in the background until stop is called.
func work(nc *nats.Conn, cfg millhand.WorkerConfig) (stop func()) {
	cfg.Config = quiet()
	w, err := millhand.NewWorker(nc, cfg)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	workers.Go(func() {
		if err := w.Run(ctx); err != nil {
			log.Fatal(err)
		}
	})
	return cancel
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
