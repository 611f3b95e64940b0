package millhand_test

import (
	"context"
	"fmt"
	"log" //nolint:depguard // as in a program

	"github.com/millhand/millhand"
)

// Scan is a job that finds out what there is to do.
type Scan struct{ Folder string }

func (Scan) Type() string { return "scan" }

// Convert is one part of that.
type Convert struct{ File string }

func (Convert) Type() string { return "convert" }

// A step finds files, and adds a step for each, and one that comes after all of them.
func ExampleGrow() {
	mux := millhand.NewMux()
	millhand.Handle(mux, func(ctx context.Context, j *millhand.Job[Scan]) error {
		files := []string{"a.wav", "b.wav"} // as found in j.Args.Folder
		return millhand.Grow(ctx, j, func(w *millhand.Workflow, self *millhand.Step) {
			var converted []*millhand.Step
			for i, file := range files {
				converted = append(converted, w.Step(fmt.Sprintf("convert-%d", i), Convert{File: file}, millhand.After(self)))
			}
			w.Step("publish", Ship{}, millhand.After(converted...))
		})
	})
	millhand.Handle(mux, func(context.Context, *millhand.Job[Convert]) error { return nil })
	millhand.Handle(mux, func(context.Context, *millhand.Job[Ship]) error { return nil })
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	defer work(nc, millhand.WorkerConfig{Mux: mux})()

	ctx := context.Background()
	w := millhand.NewWorkflow("album", millhand.WorkflowConfig{ID: "album-3"})
	w.Step("scan", Scan{Folder: "album-3"})
	ref, err := client.Start(ctx, w)
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
		fmt.Println(step.Name, step.State, step.After)
	}
	// Output:
	// scan succeeded []
	// convert-0 succeeded [scan]
	// convert-1 succeeded [scan]
	// publish succeeded [convert-0, convert-1]
}
