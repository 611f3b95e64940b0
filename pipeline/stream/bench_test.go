package stream_test

import (
	"context"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

const (
	inFlight    = 400
	benchStored = 30_000 // messages that each side reads in a round
)

// beside has two readers read the same stream in turns. It tells how fast each was, what the processor did for
// a message, the broker included, and as how much of the raw one the other is by both.
func beside(b *testing.B, raw, own func(*bench)) {
	b.Helper()
	nc := natstest.Real(b).Connect(b)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		b.Fatal(err)
	}
	for range benchStored {
		if _, err := js.PublishAsync("s.x", []byte(`{"customer":"ann","cents":1200}`), jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	var took, cpu [2]time.Duration
	for b.Loop() {
		for i, read := range []func(*bench){raw, own} {
			t := &bench{B: b, nc: nc, js: js, began: time.Now(), used: processorTime(b)}
			read(t)
			took[i] += t.took
			cpu[i] += t.cpu
		}
	}
	n := float64(benchStored * b.N)
	b.ReportMetric(n/took[0].Seconds(), "raw/s")
	b.ReportMetric(n/took[1].Seconds(), "own/s")
	b.ReportMetric(float64(cpu[0].Nanoseconds())/n, "raw-cpu-ns/msg")
	b.ReportMetric(float64(cpu[1].Nanoseconds())/n, "own-cpu-ns/msg")
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "ratio")
	b.ReportMetric(cpu[0].Seconds()/cpu[1].Seconds(), "cpu-ratio")
}

// A bench is one reading of all that is stored.
type bench struct {
	*testing.B
	nc *nats.Conn
	js jetstream.JetStream

	began     time.Time
	used      time.Duration
	took, cpu time.Duration
}

// end says that all has been read: to stop may take a request's life more.
func (b *bench) end() { b.took, b.cpu = time.Since(b.began), processorTime(b.B)-b.used }

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// handled runs a pipeline that does nothing until it has settled all messages.
func handled(b *bench, source pipeline.Source[[]byte]) {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	p, err := pipeline.New(pipeline.Config[[]byte]{
		Source: source, InFlight: inFlight, Concurrency: 2, Logger: slog.New(slog.DiscardHandler),
		Process: func(context.Context, *pipeline.Message[[]byte]) error { return nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	watch := time.NewTicker(time.Millisecond)
	defer watch.Stop()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for p.Stats().Handled < benchStored {
		<-watch.C
	}
	b.end()
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func undecoded(m stream.Message) ([]byte, error) { return m.Data, nil }

func consumer(b *bench, acks jetstream.AckPolicy) jetstream.Consumer {
	b.Helper()
	c, err := b.js.CreateConsumer(b.Context(), "S", jetstream.ConsumerConfig{AckPolicy: acks, MaxAckPending: -1})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkSource is beside a loop by hand that fetches half of what may be in hand, and has the last ack of each
// fetch confirmed.
func BenchmarkSource(b *testing.B) { beside(b, fetchAndAck, readShared) }

// BenchmarkSourceUnconfirmed is beside the fastest loop with as many in hand: nobody confirms its acks.
func BenchmarkSourceUnconfirmed(b *testing.B) { beside(b, consumeAndAck, readShared) }

// BenchmarkOrdered is beside a loop by hand that reads without acks.
func BenchmarkOrdered(b *testing.B) { beside(b, consume, readOrdered) }

func readShared(b *bench) {
	source, err := stream.NewSource(b.nc, stream.SourceConfig{Stream: "S", Durable: "d", Dead: stream.Drop}, undecoded)
	if err != nil {
		b.Fatal(err)
	}
	handled(b, source)
	if err := b.js.DeleteConsumer(b.Context(), "S", "d"); err != nil {
		b.Fatal(err)
	}
}

func readOrdered(b *bench) {
	c := stream.OrderedConfig{Stream: "S", Group: "g" + nats.NewInbox()[len(nats.InboxPrefix):], Dead: stream.Drop, Logger: slog.New(slog.DiscardHandler)}
	source, err := stream.NewOrdered(b.nc, c, undecoded)
	if err != nil {
		b.Fatal(err)
	}
	handled(b, source)
}

func fetchAndAck(b *bench) {
	c := consumer(b, jetstream.AckExplicitPolicy)
	for n := 0; n < benchStored; {
		batch, err := c.Fetch(min(inFlight/2, benchStored-n))
		if err != nil {
			b.Fatal(err)
		}
		var last jetstream.Msg
		for m := range batch.Messages() {
			if last != nil {
				if err := b.nc.Publish(last.Reply(), []byte("+ACK")); err != nil {
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
	b.end()
}

func consumeAndAck(b *bench) {
	consumeAll(b, consumer(b, jetstream.AckExplicitPolicy), jetstream.Msg.Ack)
}

func consume(b *bench) {
	consumeAll(b, consumer(b, jetstream.AckNonePolicy), func(jetstream.Msg) error { return nil })
}

func consumeAll(b *bench, c jetstream.Consumer, end func(jetstream.Msg) error) {
	b.Helper()
	n, done := 0, make(chan error, 1)
	reading, err := c.Consume(func(m jetstream.Msg) {
		if err := end(m); err != nil {
			done <- err
		}
		if n++; n == benchStored {
			done <- nil
		}
	}, jetstream.PullMaxMessages(inFlight))
	if err != nil {
		b.Fatal(err)
	}
	defer reading.Stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.end()
}
