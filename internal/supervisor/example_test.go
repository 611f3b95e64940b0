package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/supervisor"
)

// A child that fails twice, and the consumer that depends on it. RestForOne restarts both.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	connections := 0
	producer := func(ctx context.Context) error {
		connections++
		if connections < 3 {
			return errors.New("connection lost")
		}
		cancel() // the example has seen enough
		<-ctx.Done()
		return nil
	}
	consumer := func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}
	tree, err := supervisor.New(supervisor.Spec{
		Name:     "pipeline",
		Strategy: supervisor.RestForOne,
		Backoff:  supervisor.Backoff{First: time.Millisecond},
		Children: []supervisor.Child{
			{Name: "producer", Run: producer},
			{Name: "consumer", Run: consumer},
		},
		OnEvent: func(e supervisor.Event) {
			if e.Kind == supervisor.ChildRestarting {
				fmt.Println(e.Kind, e.Child, e.Err, e.Group)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tree.Run(ctx))
	// Output:
	// child restarting producer connection lost [producer consumer]
	// child restarting producer connection lost [producer consumer]
	// <nil>
}

// Squares of the numbers, at most two at a time, in the order of the numbers.
func ExampleStream() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tasks, err := supervisor.NewDynamic(supervisor.DynamicSpec{Name: "tasks"})
	if err != nil {
		fmt.Println(err)
		return
	}
	ready, done := make(chan struct{}), make(chan error)
	go func() { done <- tasks.RunReady(ctx, func() { close(ready) }) }()
	<-ready

	square := func(_ context.Context, n int) (int, error) {
		if n == 3 {
			return 0, errors.New("no threes")
		}
		return n * n, nil
	}
	numbers := slices.Values([]int{1, 2, 3, 4})
	for r, err := range supervisor.Stream(ctx, tasks, numbers, square, supervisor.StreamOptions{MaxConcurrency: 2}) {
		if err != nil {
			fmt.Println("the stream ended:", err)
			break
		}
		fmt.Println(r.Input, r.Value, r.Err)
	}
	cancel()
	fmt.Println(<-done)
	// Output:
	// 1 1 <nil>
	// 2 4 <nil>
	// 3 0 no threes
	// 4 16 <nil>
	// <nil>
}

// A program that goes on while its supervisor runs starts it, and stops it when it is done.
func ExampleStart() {
	sup, err := supervisor.New(supervisor.Spec{Name: "program", Children: []supervisor.Child{{
		Name: "cache",
		RunReady: func(ctx context.Context, ready func()) error {
			fmt.Println("cache filled")
			ready()
			<-ctx.Done()
			fmt.Println("cache emptied:", context.Cause(ctx))
			return nil
		},
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	stop, err := supervisor.Start(context.Background(), sup)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("work")
	fmt.Println("stopped:", stop())
	// Output:
	// cache filled
	// work
	// cache emptied: shutdown
	// stopped: <nil>
}
