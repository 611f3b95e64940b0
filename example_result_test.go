package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program

	"github.com/millhand/millhand"
)

// A result is kept as JSON where it can be, and comes back as the handler returned it.
func ExampleReturned_Output() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	mux.HandleFunc("echo", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		return j.Args.Payload, nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client := newClient(nc)
	ctx := context.Background()
	for _, returned := range []string{`hello`, `"hello"`, `{"pages": 3}`} {
		ref, err := client.Enqueue(ctx, millhand.Raw{Name: "echo", Payload: []byte(returned)})
		if err != nil {
			log.Fatal(err)
		}
		info, err := client.Await(ctx, ref)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("returned %s, kept as %s\n", info.Output(), info.Result)
	}
	// Output:
	// returned hello, kept as "hello"
	// returned "hello", kept as "hello"
	// returned {"pages":3}, kept as {"pages":3}
}
