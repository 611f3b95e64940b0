package stream_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// Changes of customers, in order for each of them, on any number of processes. One that fails holds its
// customer, and nobody else.
func ExampleNewOrdered() {
	type change struct{ Customer, Field, Value string }
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	nc, end, err := connect()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()
	// Whoever makes the stream says by which token of a subject its partitions are.
	cfg, err := stream.Partitioned(jetstream.StreamConfig{Name: "CHANGES", Subjects: []string{"changes.*"}}, 16, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateStream(ctx, cfg)
	}
	for _, street := range []string{"Main Street", "High Street", "Church Road"} {
		if err == nil {
			_, err = js.Publish(ctx, "changes.ann", fmt.Appendf(nil, `{"customer":"ann","field":"street","value":%q}`, street))
		}
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	changes, err := stream.NewOrdered(nc, stream.OrderedConfig{
		Stream: "CHANGES", Group: "crm", Partitions: 16, Subject: "changes.{partition}.>", Dead: stream.Drop,
		Logger: slog.New(slog.DiscardHandler),
	}, stream.JSON[change])
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := pipeline.New(pipeline.Config[change]{
		Name: "crm", Source: changes, Concurrency: 64,
		OrderBy:   func(m *pipeline.Message[change]) string { return m.Value.Customer },
		OnFailure: pipeline.Failure{Attempts: 8, HoldKey: true},
		Process: func(_ context.Context, m *pipeline.Message[change]) error {
			fmt.Println(m.ID(), m.Value.Value)
			if m.Value.Value == "Church Road" {
				cancel() // enough for an example
			}
			return nil
		},
	})
	if err == nil {
		err = p.Run(ctx)
	}
	fmt.Println(err)
	// Output:
	// CHANGES/1 Main Street
	// CHANGES/2 High Street
	// CHANGES/3 Church Road
	// <nil>
}

// Clicks a minute of each page, by when people clicked. What is counted survives the process.
func ExampleOrdered_Store() {
	type click struct {
		Page string
		At   time.Time
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	nc, end, err := connect()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "CLICKS", Subjects: []string{"clicks.>"}})
	}
	noon := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for _, after := range []int{10, 70, 50, 130} { // 50 came late
		at := noon.Add(time.Duration(after) * time.Second)
		if err == nil {
			_, err = js.Publish(ctx, "clicks.home", fmt.Appendf(nil, `{"page":"home","at":%q}`, at.Format(time.RFC3339)))
		}
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	clicks, err := stream.NewOrdered(nc, stream.OrderedConfig{
		Stream: "CLICKS", Group: "minutes", Dead: stream.Drop, Logger: slog.New(slog.DiscardHandler),
	}, stream.JSON[click])
	if err != nil {
		fmt.Println(err)
		return
	}
	perMinute := pipeline.NewFold(pipeline.FoldConfig[string, click, int]{
		Name: "minutes", Key: func(c click) string { return c.Page }, At: func(c click) time.Time { return c.At },
		Size: time.Minute, Delay: 30 * time.Second,
		Zero: func(string) int { return 0 }, Fold: func(n int, _ click) int { return n + 1 },
		State: clicks.Store(),
		Handle: func(_ context.Context, w *pipeline.Window[string, int]) error {
			fmt.Println(w.ID(), w.Value)
			cancel() // enough for an example; what is open stays in the state
			return nil
		},
	})
	p, err := pipeline.New(pipeline.Config[click]{
		Name: "clicks", Source: clicks, Batchers: []pipeline.AnyBatcher{perMinute},
		Process: func(_ context.Context, m *pipeline.Message[click]) error { perMinute.Add(m, m.Value); return nil },
	})
	if err == nil {
		err = p.Run(ctx)
	}
	fmt.Println(err)
	// Output:
	// minutes/home/2026-11-28T12:00:00Z/1 2
	// <nil>
}
