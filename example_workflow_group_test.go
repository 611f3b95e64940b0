package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program

	"github.com/millhand/millhand"
)

// Weigh is one job of a group.
type Weigh struct{ Grams int }

func (Weigh) Type() string { return "weigh" }

// Total comes after the group.
type Total struct{}

func (Total) Type() string { return "total" }

// A group of jobs, of which one may fail, and a step that sums up what they returned.
func ExampleWorkflow_Group() {
	mux := millhand.NewMux()
	millhand.HandleResult(mux, func(_ context.Context, j *millhand.Job[Weigh]) (int, error) {
		if j.Args.Grams < 0 {
			return 0, millhand.Permanent(errors.New("the scales are wrong"))
		}
		return j.Args.Grams, nil
	})
	millhand.HandleResult(mux, func(ctx context.Context, j *millhand.Job[Total]) (string, error) {
		sum, missing := 0, 0
		for grams, err := range millhand.GroupResults[int](ctx, j, "parcels") {
			if _, ok := errors.AsType[*millhand.NoResultError](err); ok {
				missing++
				continue
			}
			if err != nil {
				return "", err
			}
			sum += grams
		}
		return fmt.Sprintf("%d g, %d missing", sum, missing), nil
	})
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	w := millhand.NewWorkflow("parcels", millhand.WorkflowConfig{ID: "parcels-7"})
	parcels := w.Group("parcels", func(yield func(millhand.Args) bool) {
		for _, grams := range []int{250, 400, -1, 100} {
			if !yield(Weigh{grams}) {
				return
			}
		}
	}, millhand.Tolerate(1), millhand.KeepResults())
	w.Step("total", Total{}, millhand.After(parcels))
	ref, err := client.Start(ctx, w)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Await(ctx, ref); err != nil {
		log.Fatal(err)
	}
	total, err := millhand.AwaitResult[string](ctx, client, millhand.Ref{ID: "parcels-7--total", Type: "total", Queue: ref.Queue})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(total)
	// Output: 750 g, 1 missing
}
