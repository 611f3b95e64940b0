package millhand_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/millhand/millhand"
)

func ExampleClient_EnqueueMany() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	refs, err := client.EnqueueMany(context.Background(), []millhand.Request{
		{Args: Resize{Image: "cat.jpg", Width: 200}},
		{Args: Resize{Image: "dog.jpg", Width: 200}, Options: []millhand.EnqueueOption{millhand.WithMaxAttempts(3)}},
		{Args: Resize{Image: "cow.jpg"}, Options: []millhand.EnqueueOption{millhand.WithQueue("no dots.please")}},
	})
	fmt.Println(refs[0].Type, refs[1].Queue, refs[2].ID == "")
	if failed, ok := errors.AsType[*millhand.BatchError](err); ok {
		fmt.Println(failed.Errs[2])
	}
	// Output:
	// resize default true
	// millhand: queue "no dots.please": only A-Z a-z 0-9 _ and - are allowed
}
