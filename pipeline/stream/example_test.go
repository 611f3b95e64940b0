package stream_test

import (
	"context"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// connect starts a broker and connects to it.
func connect() (nc *nats.Conn, end func(), err error) {
	dir, err := os.MkdirTemp("", "millhand-example-")
	if err != nil {
		return nil, nil, err
	}
	b, err := broker.Start(broker.Config{Store: dir, Port: -1})
	if err != nil {
		return nil, nil, err
	}
	nc, err = nats.Connect("", nats.InProcessServer(b))
	return nc, func() { nc.Close(); b.Shutdown(); _ = os.RemoveAll(dir) }, err
}

type order struct {
	Customer string
	Cents    int
}

// A stream of another service: each order is handled once it is stored, on any number of processes.
func ExampleNewSource() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	nc, end, err := connect()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	}
	if err == nil {
		_, err = js.Publish(ctx, "orders.eu", []byte(`{"customer":"ann","cents":1200}`))
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	orders, err := stream.NewSource(nc, stream.SourceConfig{Stream: "ORDERS", Durable: "warehouse", Dead: stream.Drop}, stream.JSON[order])
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := pipeline.New(pipeline.Config[order]{
		Name: "warehouse", Source: orders,
		Process: func(_ context.Context, m *pipeline.Message[order]) error {
			fmt.Println(m.ID(), m.Value.Customer, m.Value.Cents)
			cancel() // enough for an example
			return nil
		},
	})
	if err == nil {
		err = p.Run(ctx)
	}
	fmt.Println(err)
	// Output:
	// ORDERS/1 ann 1200
	// <nil>
}
