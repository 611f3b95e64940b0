package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/millhand/millhand"
)

// A chosen id makes an enqueue idempotent: while the job is alive there is no second one.
func ExampleWithID() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	for range 2 {
		_, err := client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: 200}, millhand.WithID("cat-200"))
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// millhand: job cat-200 of type resize is already in queue default
}

// What is to be done once needs no id: that is derived from the type and the payload.
func ExampleWithUnique() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	for _, width := range []int{200, 200, 400} {
		_, err := client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: width}, millhand.WithUnique())
		fmt.Println(width, errors.Is(err, millhand.ErrDuplicate))
	}
	// Output:
	// 200 false
	// 200 true
	// 400 false
}

// Once per period: the id stays taken when the job has ended.
func ExampleWithUniqueFor() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[Resize]) error { return nil })
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: 200}, millhand.WithUniqueFor(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Await(ctx, ref); err != nil {
		log.Fatal(err)
	}
	_, err = client.Enqueue(ctx, Resize{Image: "cat.jpg", Width: 200}, millhand.WithUniqueFor(time.Hour))
	if duplicate, ok := errors.AsType[*millhand.DuplicateError](err); ok {
		fmt.Println(duplicate.Existing == ref)
	}
	// Output: true
}

// What was done by mistake can be done again before its period is over.
func ExampleClient_Release() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[Resize]) error { return nil })
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	enqueue := func() (millhand.Ref, error) {
		return client.Enqueue(ctx, Resize{Image: "cat.jpg"}, millhand.WithID("cat"), millhand.WithUniqueFor(time.Hour))
	}
	ref, err := enqueue()
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Await(ctx, ref); err != nil {
		log.Fatal(err)
	}
	_, err = enqueue()
	fmt.Println(errors.Is(err, millhand.ErrDuplicate))
	for errors.Is(err, millhand.ErrDuplicate) {
		// The result is there a moment before the id is kept.
		if err := client.Release(ctx, ref); err != nil && !errors.Is(err, millhand.ErrNotFound) {
			log.Fatal(err)
		}
		_, err = enqueue()
	}
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}
