package millhand_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/millhand/millhand"
)

// What is refused says what is at fault and which rule it breaks, as data: a service can show
// its users the rule in its own words.
func ExampleInvalidError() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	_, err := client.Enqueue(context.Background(), Resize{Image: "cat.jpg"}, millhand.WithID("")) // a variable that nobody set
	if invalid, ok := errors.AsType[*millhand.InvalidError](err); ok {
		fmt.Printf("%s %q: %s\n", invalid.What, invalid.Name, invalid.Rule)
	}
	fmt.Println(errors.Is(err, millhand.ErrInvalid), err)
	// Output:
	// id "": must not be empty
	// true millhand: id must not be empty
}

// After most errors it is certain that a job is not stored, and it can be enqueued again.
func ExampleMaybeStored() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ended, end := context.WithCancel(context.Background())
	end()
	_, err := client.Enqueue(ended, Resize{Image: "cat.jpg"})
	fmt.Println(millhand.MaybeStored(err), err)
	// Output: false millhand: job was not sent: context canceled
}

// A program that takes names of queues from its users checks them before it does anything else.
func ExampleCheckQueue() {
	for _, name := range []string{"images", "images/small"} {
		fmt.Println(millhand.CheckQueue(name))
	}
	// Output:
	// <nil>
	// millhand: queue "images/small": only A-Z a-z 0-9 _ and - are allowed
}
