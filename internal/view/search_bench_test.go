package view_test

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/view"
)

// BenchmarkSearch is a search that finds nothing, in both orders: messages looked at in a second, and
// the processor's time that broker and searcher together take for one.
//
//	go test -run '^$' -bench Search -benchtime 3x ./internal/view -view.jobs 300000
func BenchmarkSearch(b *testing.B) {
	for _, order := range []view.Order{view.OldestFirst, view.NewestFirst} {
		b.Run(string(order), func(b *testing.B) {
			log := slog.New(slog.DiscardHandler)
			s := natstest.Real(b)
			client, err := millhand.NewClient(s.Connect(b), millhand.Config{Logger: log})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := client.Enqueue(b.Context(), millhand.Raw{Name: "email", Payload: []byte(`{}`)}); err != nil {
				b.Fatal(err)
			}
			js, err := stream.New(s.Connect(b), stream.Config{Logger: log})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := js.JetStream().CreateConsumer(b.Context(), "millhand-queue-default", jetstream.ConsumerConfig{
				Durable: "email", FilterSubject: "millhand.default.ready.email.*", AckPolicy: jetstream.AckExplicitPolicy,
			}); err != nil {
				b.Fatal(err)
			}
			fillReady(b, js, *manyJobs)
			v := view.New(view.Config{Client: js, Store: queue.NewStore(js, queue.Config{Logger: log}), Registry: registry.NewStore(js, log)})
			f, err := filter.Parse("state:ready type:email payload:nothing")
			if err != nil {
				b.Fatal(err)
			}
			var looked int64
			cpu := processorTime(b)
			b.ReportAllocs()
			for b.Loop() {
				page, err := v.List(b.Context(), view.Query{Filter: f, Order: order, Search: true})
				if err != nil || len(page.Jobs) > 0 {
					b.Fatalf("found %v, %v", page, err)
				}
				looked += page.Looked.Messages
			}
			b.ReportMetric(float64(looked)/b.Elapsed().Seconds(), "msgs/s")
			b.ReportMetric(float64((processorTime(b)-cpu).Nanoseconds())/float64(looked), "cpu-ns/msg")
		})
	}
}

// fillReady publishes jobs of some size, with one gap so that the stream is none that is read in any way.
func fillReady(b *testing.B, js *stream.Client, n int) {
	b.Helper()
	payload := []byte(fmt.Sprintf(`{"to":"somebody@example.com","text":"%0150d"}`, 0))
	var last uint64
	for i := range n {
		m := &nats.Msg{Subject: fmt.Sprintf("millhand.default.ready.email.job-%d", i), Data: payload, Header: nats.Header{"Millhand-Life": {fmt.Sprintf("life-%d", i)}, "Millhand-Meta-Tenant": {"a"}}}
		var err error
		if i%1000 == 999 || i == n-1 {
			last, err = js.Publish(b.Context(), m)
		} else {
			err = js.Conn().PublishMsg(m)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := js.Remove(b.Context(), "millhand-queue-default", last/2); err != nil {
		b.Fatal(err)
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
