package millhand_test

import (
	"context"
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
