package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program

	"github.com/millhand/millhand"
)

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

// What is to be done once needs no id: that is derived from the type and the payload.
func ExampleWithUnique() {
	nc, stop := connect()
	defer stop()
	client, err := millhand.NewClient(nc, quiet())
	if err != nil {
		log.Fatal(err)
	}
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
