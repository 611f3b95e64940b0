package millhand_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/millhand/millhand"
)

func ExampleClient_EnqueueAtomic() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	order := func(id string) []millhand.Request {
		return []millhand.Request{
			{Args: millhand.Raw{Name: "charge", Payload: []byte(`{"cents":1250}`)}, Options: []millhand.EnqueueOption{millhand.WithID(id)}},
			{Args: millhand.Raw{Name: "ship", Payload: []byte(`{"to":"Utrecht"}`)}, Options: []millhand.EnqueueOption{millhand.WithID(id)}},
		}
	}
	refs, err := client.EnqueueAtomic(context.Background(), order("order-1"))
	fmt.Println(len(refs), err)

	_, err = client.EnqueueAtomic(context.Background(), append(order("order-2"), order("order-1")...))
	if refused, ok := errors.AsType[*millhand.AtomicError](err); ok {
		fmt.Println(refused.Index, errors.Is(err, millhand.ErrDuplicate), millhand.MaybeStored(err))
	}
	fmt.Println(err)
	// Output:
	// 2 <nil>
	// 2 true false
	// millhand: nothing was enqueued: job 2 of the batch: job order-1 of type charge is already in queue default
}
