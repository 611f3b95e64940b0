package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millhand/millhand"
)

// Results are kept for a week unless something else is set, which holds for all from then on.
func ExampleClient_SetRetention() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	err := client.SetRetention(ctx, millhand.Retention{Results: 24 * time.Hour, Dead: 90 * 24 * time.Hour})
	fmt.Println(err)
	err = client.SetRetention(ctx, millhand.Retention{Results: time.Minute})
	fmt.Println(errors.Is(err, millhand.ErrInvalid), err)
	// Output:
	// <nil>
	// true millhand: results kept 1m0s: must be at least 1h0m0s
}
