package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"sync/atomic"

	"github.com/millhand/millhand"
)

// Charge is a job that a payment service refuses at first.
type Charge struct{ Cents int }

func (Charge) Type() string { return "charge" }

// Ship is a job that comes after it.
type Ship struct{}

func (Ship) Type() string { return "ship" }

// What failed runs again, and what was skipped since it failed; what succeeded does not.
func ExampleClient_RetryWorkflow() {
	var paid atomic.Bool
	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[Charge]) error {
		if !paid.Load() {
			return millhand.Permanent(errors.New("card declined"))
		}
		return nil
	})
	millhand.Handle(mux, func(context.Context, *millhand.Job[Ship]) error { return nil })
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	w := millhand.NewWorkflow("order", millhand.WorkflowConfig{ID: "order-17"})
	charge := w.Step("charge", Charge{Cents: 1999})
	w.Step("ship", Ship{}, millhand.After(charge))
	ref, err := client.Start(ctx, w)
	if err != nil {
		log.Fatal(err)
	}
	info, err := client.Await(ctx, ref)
	fmt.Println(info.State, err)
	paid.Store(true)
	if ref, err = client.RetryWorkflow(ctx, ref); err != nil {
		log.Fatal(err)
	}
	info, err = client.Await(ctx, ref)
	fmt.Println(info.State, err)
	// Output:
	// dead millhand: job order-17 is dead (step): step charge failed
	// succeeded <nil>
}
