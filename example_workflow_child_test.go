package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program

	"github.com/millhand/millhand"
)

// A workflow is a step of another, which goes on when all of it has ended.
func ExampleWorkflow_Workflow() {
	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[Convert]) error { return nil })
	millhand.Handle(mux, func(context.Context, *millhand.Job[Ship]) error { return nil })
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	side := millhand.NewWorkflow("side", millhand.WorkflowConfig{})
	song := side.Step("song", Convert{File: "a.wav"})
	side.Step("cover", Convert{File: "a.png"}, millhand.After(song))
	album := millhand.NewWorkflow("album", millhand.WorkflowConfig{ID: "album-4"})
	a := album.Workflow("side-a", side)
	b := album.Workflow("side-b", side)
	album.Step("ship", Ship{}, millhand.After(a, b))
	ref, err := client.Start(ctx, album)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Await(ctx, ref); err != nil {
		log.Fatal(err)
	}
	info, err := client.GetWorkflow(ctx, ref)
	if err != nil {
		log.Fatal(err)
	}
	for _, step := range info.Steps {
		fmt.Println(step.Name, step.Kind, step.State)
	}
	// Output:
	// side-a workflow succeeded
	// side-b workflow succeeded
	// ship job succeeded
}
