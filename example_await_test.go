package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program

	"github.com/millhand/millhand"
)

// A job is a call whose handler may be anywhere, and that outlives whoever made it.
func ExampleCall() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	millhand.HandleResult(mux, func(_ context.Context, j *millhand.Job[Resize]) (int, error) {
		if j.Args.Width > 1000 {
			return 0, millhand.Permanent(errors.New("the image is not that large"))
		}
		return j.Args.Width * 3 / 4, nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client := newClient(nc)
	ctx := context.Background()
	height, err := millhand.Call[int](ctx, client, Resize{Image: "cat.jpg", Width: 200})
	fmt.Println(height, err)
	_, err = millhand.Call[int](ctx, client, Resize{Image: "cat.jpg", Width: 4000}, millhand.WithID("cat"))
	fmt.Println(err)
	// Output:
	// 150 <nil>
	// millhand: job cat is dead (permanent) after attempt 1: the image is not that large
}

// Who has something else to do asks now and then.
func ExamplePoll() {
	nc, stop := connect()
	defer stop()
	finish := make(chan struct{})
	mux := millhand.NewMux()
	millhand.HandleResult(mux, func(context.Context, *millhand.Job[Resize]) (string, error) {
		<-finish
		return "resized", nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client := newClient(nc)
	ctx := context.Background()
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg"}, millhand.WithAwait())
	if err != nil {
		log.Fatal(err)
	}
	result, done, err := millhand.Poll[string](ctx, client, ref)
	fmt.Printf("%q %v %v\n", result, done, err)
	close(finish)
	if _, err := client.Await(ctx, ref); err != nil {
		log.Fatal(err)
	}
	result, done, err = millhand.Poll[string](ctx, client, ref)
	fmt.Printf("%q %v %v\n", result, done, err)
	// Output:
	// "" false <nil>
	// "resized" true <nil>
}
