package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program

	"github.com/millhand/millhand"
)

// A handler reports how far it is, and whoever looks on sees it.
func ExampleClient_Watch() {
	nc, stop := connect()
	defer stop()
	seen := make(chan struct{})
	mux := millhand.NewMux()
	millhand.Handle(mux, func(_ context.Context, j *millhand.Job[Resize]) error {
		for done := range int64(3) {
			j.Progress(done+1, 3, "tiles")
			<-seen // real work takes its time, too
		}
		return nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client := newClient(nc)
	ctx := context.Background()
	ref, err := client.Enqueue(ctx, Resize{Image: "cat.jpg"}, millhand.WithAwait())
	if err != nil {
		log.Fatal(err)
	}
	shown := int64(0)
	for info, err := range client.Watch(ctx, ref) {
		switch p := info.Progress; {
		case err != nil:
			log.Fatal(err)
		case info.State.Final():
			fmt.Println(info.State)
		case p.Done > shown:
			fmt.Printf("%s, %d of %d %s\n", info.State, p.Done, p.Total, p.Note)
			shown = p.Done
			seen <- struct{}{}
		}
	}
	// Output:
	// running, 1 of 3 tiles
	// running, 2 of 3 tiles
	// running, 3 of 3 tiles
	// succeeded
}

// Progress may be reported as often as is convenient: it is passed on five times a second at most.
func ExampleJob_Progress() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	millhand.HandleResult(mux, func(_ context.Context, j *millhand.Job[Resize]) (int64, error) {
		const rows = 1_000_000
		sum := int64(0)
		for row := range int64(rows) {
			sum += row
			j.Progress(row+1, rows, "rows")
		}
		return sum, nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client := newClient(nc)
	sum, err := millhand.Call[int64](context.Background(), client, Resize{Image: "cat.jpg"})
	fmt.Println(sum, err)
	// Output: 499999500000 <nil>
}
