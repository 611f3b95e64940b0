package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"slices"

	"github.com/millhand/millhand"
)

// Thumbnail makes a small image of a photo.
type Thumbnail struct {
	Photo string `json:"photo"`
}

// Type implements millhand.Args.
func (Thumbnail) Type() string { return "thumbnail" }

func ExampleMap() {
	nc, stop := connect()
	defer stop()
	mux := millhand.NewMux()
	millhand.HandleResult(mux, func(_ context.Context, j *millhand.Job[Thumbnail]) (string, error) {
		if j.Args.Photo == "notes.txt" {
			return "", millhand.Permanent(errors.New("not an image"))
		}
		return "small-" + j.Args.Photo, nil
	})
	defer work(nc, millhand.WorkerConfig{Mux: mux})()
	client := newClient(nc)
	photos := slices.Values([]Thumbnail{{"cat.jpg"}, {"notes.txt"}, {"dog.jpg"}})
	for d, err := range millhand.Map[string](context.Background(), client, photos, millhand.MapConfig{InFlight: 2}) {
		if failed, ok := errors.AsType[*millhand.FailedError](err); ok {
			fmt.Printf("%s: %s\n", d.Args.Photo, failed.Message)
			continue // break would cancel the rest
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(d.Result)
	}
	// Output:
	// small-cat.jpg
	// notes.txt: not an image
	// small-dog.jpg
}
