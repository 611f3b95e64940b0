package stream_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

const inFlight = 400

// filled returns a connection to a broker with b.N messages in stream S.
func filled(b *testing.B) (*nats.Conn, jetstream.JetStream) {
	b.Helper()
	nc := natstest.Real(b).Connect(b)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		b.Fatal(err)
	}
	for range b.N {
		if _, err := js.PublishAsync("s.x", []byte(`{"customer":"ann","cents":1200}`)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	return nc, js
}

// until runs a pipeline until it has settled n messages.
func until(b *testing.B, source pipeline.Source[[]byte], n int) {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	var p *pipeline.Pipeline[[]byte]
	settled := 0
	c := pipeline.Config[[]byte]{
		Source: source, InFlight: inFlight, Concurrency: 2, Logger: slog.New(slog.DiscardHandler),
		Process: func(context.Context, *pipeline.Message[[]byte]) error { return nil },
	}
	var err error
	if p, err = pipeline.New(c); err != nil {
		b.Fatal(err)
	}
	watch := time.NewTicker(10 * time.Millisecond)
	defer watch.Stop()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for settled < n {
		<-watch.C
		settled = int(p.Stats().Handled)
	}
	b.StopTimer()
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func raw(m stream.Message) ([]byte, error) { return m.Data, nil }

func BenchmarkSource(b *testing.B) {
	nc, _ := filled(b)
	source, err := stream.NewSource(nc, stream.SourceConfig{Stream: "S", Durable: "d", Dead: stream.Drop}, raw)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	until(b, source, b.N)
}

// BenchmarkSourceRaw is what a loop does by hand: it fetches, and acknowledges, the last of each fetch with an answer.
func BenchmarkSourceRaw(b *testing.B) {
	nc, js := filled(b)
	c, err := js.CreateConsumer(b.Context(), "S", jetstream.ConsumerConfig{Durable: "d", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for n := 0; n < b.N; {
		batch, err := c.Fetch(min(inFlight/2, b.N-n))
		if err != nil {
			b.Fatal(err)
		}
		var last jetstream.Msg
		for m := range batch.Messages() {
			if last != nil {
				if err := nc.Publish(last.Reply(), []byte("+ACK")); err != nil {
					b.Fatal(err)
				}
			}
			last = m
			n++
		}
		if last != nil {
			if err := last.DoubleAck(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkOrdered(b *testing.B) {
	nc, _ := filled(b)
	source, err := stream.NewOrdered(nc, stream.OrderedConfig{Stream: "S", Group: "g", Dead: stream.Drop, Logger: slog.New(slog.DiscardHandler)}, raw)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	until(b, source, b.N)
}

func BenchmarkOrderedRaw(b *testing.B) {
	_, js := filled(b)
	c, err := js.OrderedConsumer(b.Context(), "S", jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for n := 0; n < b.N; {
		batch, err := c.Fetch(min(inFlight, b.N-n))
		if err != nil {
			b.Fatal(err)
		}
		for range batch.Messages() {
			n++
		}
	}
}
