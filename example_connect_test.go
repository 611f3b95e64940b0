package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program
	"os"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

// A worker's connection reconnects for ever and buffers nothing. One that nats.go makes by
// default is refused, with a word on what to change.
func ExampleConnectOptions() {
	dir, err := os.MkdirTemp("", "millhand-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server, err := broker.Start(broker.Config{Store: dir, Port: -1})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Shutdown()
	url := server.ClientURL() // a program's own server, such as "nats://nats.example.com:4222"

	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[Resize]) error { return nil })
	for _, options := range [][]nats.Option{nil, millhand.ConnectOptions(nil)} {
		nc, err := nats.Connect(url, options...)
		if err != nil {
			log.Fatal(err)
		}
		_, err = millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux})
		fmt.Println(err)
		nc.Close()
	}
	// Output:
	// millhand: the connection gives up after 60 attempts to reconnect, so an outage would end the worker: add nats.MaxReconnects(-1), or connect with millhand.ConnectOptions, which has it
	// <nil>
}
