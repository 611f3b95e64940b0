package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/pipeline"
)

type change struct{ customer, field, value string }

// In order for each customer: a message that fails holds its customer, and nobody else.
func ExampleConfig_order() {
	changes := pipeline.FromSeq(slices.Values([]change{
		{"ada", "name", "Ada"}, {"bob", "name", "Bob"}, {"ada", "mail", ""}, {"ada", "mail", "ada@example.com"}, {"bob", "mail", "bob@example.com"},
	}))
	done := map[string]*strings.Builder{"ada": {}, "bob": {}} // each is written by one at a time
	p, err := pipeline.New(pipeline.Config[change]{
		Name: "crm", Source: changes, Concurrency: 64,
		OrderBy:   func(m *pipeline.Message[change]) string { return m.Value.customer },
		OnFailure: pipeline.Failure{Attempts: 2, Backoff: func(int) time.Duration { return time.Millisecond }, HoldKey: true},
		Process: func(_ context.Context, m *pipeline.Message[change]) error {
			fmt.Fprintf(done[m.Value.customer], " %s=%q", m.Value.field, m.Value.value)
			if m.Value.value == "" {
				return errors.New("no value")
			}
			return nil
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Run(context.Background()), p.Stats().Failed, "failed")
	fmt.Printf("ada:%s\nbob:%s\n", done["ada"], done["bob"])
	// Output:
	// <nil> 1 failed
	// ada: name="Ada" mail="" mail="" mail="ada@example.com"
	// bob: name="Bob" mail="bob@example.com"
}

type upload struct {
	tenant, name string
	data         []byte
}

type index struct{ tenant, name string }

// One message into batchers of different types: it is settled when all have done their part.
func ExampleBatcher() {
	store := pipeline.NewBatcher(pipeline.BatcherConfig[upload]{
		Name: "store", Bytes: 8 << 20, SizeOf: func(u upload) int { return len(u.data) },
		Key: func(u upload) string { return u.tenant },
		Handle: func(_ context.Context, b *pipeline.Batch[upload]) error {
			fmt.Printf("store for %s: %d uploads, %s\n", b.Key, len(b.Items), b.Trigger)
			return nil
		},
	})
	indexed := pipeline.NewBatcher(pipeline.BatcherConfig[index]{
		Name: "index", Size: 1000,
		Handle: func(_ context.Context, b *pipeline.Batch[index]) error {
			fmt.Printf("index %v: %s is the first\n", b.Items, b.ID(0))
			return nil
		},
	})
	p, err := pipeline.New(pipeline.Config[upload]{
		Name: "uploads", Batchers: []pipeline.AnyBatcher{store, indexed}, Concurrency: 1,
		Source: pipeline.FromSeq(slices.Values([]upload{{"acme", "a.png", nil}, {"acme", "b.png", nil}, {"acme", "c.png", nil}})),
		Process: func(_ context.Context, m *pipeline.Message[upload]) error {
			store.Add(m, m.Value)
			indexed.Add(m, index{m.Value.tenant, m.Value.name})
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := p.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println(p.Stats().Handled, "messages handled")
	// Unordered output:
	// store for acme: 3 uploads, flushed
	// index [{acme a.png} {acme b.png} {acme c.png}]: uploads/1/index/0 is the first
	// 3 messages handled
}

// queue has the shape of a cloud provider's queue: receipts, and messages that come again unless they are
// deleted in time.
type queue struct {
	messages []string
	deleted  []string
}

func (q *queue) Pull(_ context.Context, n int, out []pipeline.Delivery[string]) ([]pipeline.Delivery[string], error) {
	if len(q.messages) == 0 {
		return out, io.EOF
	}
	for _, body := range q.messages[:min(n, len(q.messages))] {
		out = append(out, pipeline.Delivery[string]{Value: body, Acker: q, Ref: "receipt of " + body})
	}
	q.messages = q.messages[min(n, len(q.messages)):]
	return out, nil
}

// Settle deletes what was handled, in one request. The rest comes again by itself.
func (q *queue) Settle(_ context.Context, ends []pipeline.End) error {
	for _, e := range ends {
		if receipt, ok := e.Ref.(string); ok && e.Err == nil {
			q.deleted = append(q.deleted, receipt)
		}
	}
	return nil
}

// A source and an acker of one's own: one method each.
func ExampleSource() {
	q := &queue{messages: []string{"a", "b", "c"}}
	p, err := pipeline.New(pipeline.Config[string]{
		Source: q, Concurrency: 1,
		Process: func(_ context.Context, m *pipeline.Message[string]) error {
			if m.Value == "b" {
				return errors.New("not today")
			}
			return nil
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Run(context.Background()), q.deleted)
	// Output: <nil> [receipt of a receipt of c]
}
