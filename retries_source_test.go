package millhand_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// A message that failed for good is handled by the same pipeline once somebody has requeued it.
func TestWithRetries(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		c := client(t, nc)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"ann", "bob"} {
			if _, err := js.Publish(t.Context(), "orders.eu", []byte(`{"to":"`+to+`"}`)); err != nil {
				t.Fatal(err)
			}
		}
		orders, err := stream.NewSource(nc, stream.SourceConfig{
			Stream: "ORDERS", Durable: "warehouse", Logger: natstest.Logger(natstest.Output(t)), Dead: millhand.DeadJobs(c, "warehouse"),
		}, stream.JSON[map[string]string])
		if err != nil {
			t.Fatal(err)
		}
		source, err := millhand.WithRetries(c, orders, "ORDERS", "warehouse", stream.JSON[map[string]string])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := millhand.WithRetries(c, orders, "ORDERS", "event", stream.JSON[map[string]string]); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("a queue that nobody may have: %v", err)
		}
		var mended, handled atomic.Int64
		p, err := pipeline.New(pipeline.Config[map[string]string]{
			Source: source, Logger: natstest.Logger(natstest.Output(t)),
			Process: func(_ context.Context, m *pipeline.Message[map[string]string]) error {
				if m.Value["to"] == "bob" && mended.Load() == 0 {
					return millhand.Permanent(errors.New("bob is unknown"))
				}
				handled.Add(1)
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(time.Minute)
		mended.Store(1)
		for d, err := range c.Dead(t.Context(), millhand.DeadFilter{Queue: "warehouse"}) {
			if err != nil {
				t.Fatal(err)
			}
			ref, err := c.Requeue(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := c.Await(t.Context(), ref); err != nil || info.State != millhand.Succeeded {
				t.Errorf("requeued: %+v, %v", info, err)
			}
		}
		cancel()
		if err := <-ended; err != nil || handled.Load() != 2 {
			t.Errorf("%d handled, %v", handled.Load(), err)
		}
	})
}
