package millhand_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

type upload struct {
	Tenant, Name string
	Data         []byte
}

type index struct{ Tenant, Name string }

type scan struct{ Object string }

func (scan) Type() string { return "scan" }

// One message goes into batchers of different types: a store, a stream, and jobs. It is settled when all of
// them have done their part.
func ExampleJobs() {
	ctx := context.Background()
	nc, stop := connect()
	defer stop()
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "INDEX", Subjects: []string{"index.*"}})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	c := newClient(nc)
	defer c.Close()
	store := pipeline.NewBatcher(pipeline.BatcherConfig[upload]{
		Name: "store", Bytes: 8 << 20, SizeOf: func(u upload) int { return len(u.Data) }, Wait: time.Second,
		Key:    func(u upload) string { return u.Tenant },
		Handle: func(_ context.Context, b *pipeline.Batch[upload]) error { fmt.Println(b.Key, len(b.Items)); return nil },
	})
	toIndex := pipeline.NewBatcher(pipeline.BatcherConfig[index]{
		Name: "index", Size: 1000,
		Handle: stream.Publish(nc, func(i index) (stream.Msg, error) {
			return stream.Msg{Subject: "index." + i.Tenant, Data: []byte(i.Name)}, nil
		}),
	})
	scans := pipeline.NewBatcher(pipeline.BatcherConfig[string]{
		Name: "scans", Handle: millhand.Jobs(c, func(object string) millhand.Args { return scan{object} }),
	})
	source := pipeline.FromSeq(slices.Values([]upload{{"acme", "a.png", make([]byte, 10)}, {"acme", "b.png", make([]byte, 2<<20)}}))
	p, err := pipeline.New(pipeline.Config[upload]{
		Name: "uploads", Source: source, Batchers: []pipeline.AnyBatcher{store, toIndex, scans},
		Process: func(_ context.Context, m *pipeline.Message[upload]) error {
			store.Add(m, m.Value)
			toIndex.Add(m, index{m.Value.Tenant, m.Value.Name})
			if len(m.Value.Data) > 1<<20 {
				scans.Add(m, m.Value.Name)
			}
			return nil
		},
	})
	if err == nil {
		err = p.Run(ctx)
	}
	fmt.Println(err)
	for j, err := range c.Jobs(ctx, millhand.JobFilter{}) {
		fmt.Println(j.Type, err)
	}
	// Output:
	// acme 2
	// <nil>
	// scan <nil>
}
