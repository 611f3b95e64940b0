package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program
	"maps"
	"slices"
	"strings"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/flow"
)

// Count is the payload of a job that counts words.
type Count struct {
	Lines []string `json:"lines"`
}

// Type implements millhand.Args.
func (Count) Type() string { return "count" }

// A handler that computes with a flow. The flow keeps nothing: if its worker dies the job runs again, and counts from the
// beginning. When the job is cancelled or times out, so is the flow.
func Example_flow() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	millhand.HandleResult(mux, func(ctx context.Context, j *millhand.Job[Count]) (map[string]int, error) {
		words := flow.FlatMap(flow.From(slices.Values(j.Args.Lines)).Stages(2), strings.FieldsSeq)
		counts := make(map[string]int)
		for w, err := range flow.CountBy(flow.By(words, strings.ToLower)).All(ctx) {
			if err != nil {
				return nil, err // the job fails, and is tried again
			}
			counts[w.Key] = w.Value
		}
		return counts, nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	client := newClient(nc)
	ref, err := client.Enqueue(ctx, Count{Lines: []string{"to be or", "not to be"}})
	if err != nil {
		log.Fatal(err)
	}
	counts, err := millhand.AwaitResult[map[string]int](ctx, client, ref)
	if err != nil {
		log.Fatal(err)
	}
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		fmt.Println(word, counts[word])
	}
	// Output:
	// be 2
	// not 1
	// or 1
	// to 2
}
