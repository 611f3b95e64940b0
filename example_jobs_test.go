package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/millhand/millhand"
)

// Jobs lists what is alive in a queue.
func ExampleClient_Jobs() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	for image, delay := range map[string]time.Duration{"cat.jpg": 0, "dog.jpg": time.Hour, "owl.jpg": 48 * time.Hour} {
		if _, err := client.Enqueue(ctx, Resize{Image: image}, millhand.WithDelay(delay)); err != nil {
			log.Fatal(err)
		}
	}
	soon := millhand.JobFilter{States: []millhand.State{millhand.Scheduled}, DueBy: time.Now().Add(24 * time.Hour)}
	for info, err := range client.Jobs(ctx, soon) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(info.Type, "is", info.State, "and due within a day")
	}
	// Output: resize is scheduled and due within a day
}
