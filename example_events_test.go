package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/millhand/millhand"
)

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
	client := newClient(nc)
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
