package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program

	"github.com/millhand/millhand"
)

// A type that is known at run time only is handled as bytes.
func ExampleMux_HandleFunc() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	mux.HandleFunc("shout", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		return append(j.Args.Payload, '!'), nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client := newClient(nc)
	ctx := context.Background()
	ref, err := client.Enqueue(ctx, millhand.Raw{Name: "shout", Payload: []byte("hello")})
	if err != nil {
		log.Fatal(err)
	}
	info, err := client.Await(ctx, ref)
	fmt.Println(string(info.Output()), err)
	// Output: hello! <nil>
}
