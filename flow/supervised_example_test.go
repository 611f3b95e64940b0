package flow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millhand/millhand/flow"
	"github.com/millhand/millhand/internal/supervisor"
)

// Run blocks and ends with its context, so a flow is a child of whatever supervises functions. Here its second event fails it
// the first time. It is started again, from the beginning of its source: a flow keeps nothing of a run.
func ExampleStream_Run() {
	asked := 0
	prices := flow.Try(flow.From(slices.Values([]string{"apple", "pear", "plum"})), func(_ context.Context, fruit string) (int, error) {
		if asked++; asked == 2 {
			return 0, errors.New("no answer")
		}
		return len(fruit), nil
	})
	counted := prices.Each(func(price int) { fmt.Println(price) })

	tree, err := supervisor.New(supervisor.Spec{
		Name:         "shop",
		Backoff:      supervisor.Backoff{First: time.Millisecond},
		AutoShutdown: supervisor.AnySignificant,
		Children:     []supervisor.Child{{Name: "prices", Run: counted.Run, Restart: supervisor.Transient, Significant: true}},
		OnEvent: func(e supervisor.Event) {
			if e.Kind == supervisor.ChildRestarting {
				fmt.Println(e.Kind, e.Child, errors.Unwrap(e.Err))
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tree.Run(ctx))
	// Output:
	// 5
	// child restarting prices no answer
	// 5
	// 4
	// 4
	// shop: prices ended: shutdown
}
