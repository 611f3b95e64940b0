package millhand_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// hostile are messages that nobody would send who means well: each by itself, and as large as the broker takes them.
func hostile(most int) []*nats.Msg {
	many := nats.Header{}
	for i := range 1000 {
		many.Set(fmt.Sprintf("H-%d", i), strings.Repeat("x", 40))
	}
	long := nats.Header{"X": {strings.Repeat("y", 60_000)}}
	traced := nats.Header{"traceparent": {strings.Repeat("0", 5000)}, "Nats-Msg-Id": {" \t"}, "Millhand-Life": {"zz"}, "Millhand-Origin": {"ORDERS/1/x"}, "Nats-Expected-Stream": {""}}
	return []*nats.Msg{
		{Subject: "odd"},
		{Subject: "odd.a*b"},
		{Subject: "odd.>x.*y"},
		{Subject: "odd.{partition}.$JS"},
		{Subject: "odd." + strings.Repeat("z", 3000)},
		{Subject: "odd.ü.\u2028"},
		{Subject: "odd.many", Header: many, Data: []byte("1")},
		{Subject: "odd.long", Header: long, Data: []byte(`{"to":1}`)},
		{Subject: "odd.traced", Header: traced},
		{Subject: "odd.binary", Data: bytes.Repeat([]byte{0, 0xff}, 500)},
		{Subject: "odd.large", Data: bytes.Repeat([]byte("["), most)},
		{Subject: "odd.large", Header: long, Data: bytes.Repeat([]byte("["), most-60_100)},
	}
}

// Whatever messages are like, each has an end: with a decoder that takes none of them they are all dead jobs, by
// either source, and the next good one is handled.
func TestHostileMessagesOfAStream(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		c := client(t, nc)
		js := jetStream(t, nc)
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ODD-ü@1", Subjects: []string{"odd", "odd.>"}}); err != nil {
			t.Fatal(err)
		}
		all := hostile(int(nc.MaxPayload()))
		for _, m := range all {
			if _, err := js.PublishMsg(t.Context(), m); err != nil {
				t.Fatalf("%.40s: %v", m.Subject, err)
			}
		}
		if _, err := js.Publish(t.Context(), "odd.good", []byte(`{"to":"somebody"}`)); err != nil {
			t.Fatal(err)
		}
		quiet := slog.New(slog.DiscardHandler)
		decode := func(m stream.Message) (email, error) {
			if m.Subject != "odd.good" {
				return email{}, fmt.Errorf("no good: %s", strings.Repeat("e", 100_000))
			}
			return stream.JSON[email](m)
		}
		shared, err := stream.NewSource(nc, stream.SourceConfig{Stream: "ODD-ü@1", Durable: "d", Dead: millhand.DeadJobs(c, "shared"), Logger: quiet}, decode)
		if err != nil {
			t.Fatal(err)
		}
		ordered, err := stream.NewOrdered(nc, stream.OrderedConfig{Stream: "ODD-ü@1", Group: "g", Dead: millhand.DeadJobs(c, "ordered"), Logger: quiet}, decode)
		if err != nil {
			t.Fatal(err)
		}
		for queue, source := range map[string]pipeline.Source[email]{"shared": shared, "ordered": ordered} {
			handled := make(chan string, 10)
			p, err := pipeline.New(pipeline.Config[email]{
				Name: strings.Repeat("ü", 100), Source: source, Logger: quiet,
				Process: func(_ context.Context, m *pipeline.Message[email]) error { handled <- m.ID(); return nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			if err := p.Run(ctx); err != nil {
				t.Errorf("%s: %v", queue, err)
			}
			cancel()
			if len(handled) != 1 || <-handled != fmt.Sprintf("ODD-ü@1/%d", len(all)+1) {
				t.Errorf("%s: %d messages were handled", queue, len(handled)+1)
			}
			dead := 0
			for d, err := range c.Dead(t.Context(), millhand.DeadFilter{Queue: queue}) {
				if err != nil {
					t.Fatal(err)
				}
				dead++
				if d.Reason != millhand.ReasonMalformed {
					t.Errorf("%s: %s is dead for %s", queue, d.ID, d.Reason)
				}
			}
			if dead != len(all) {
				t.Errorf("%s: %d are dead, want %d", queue, dead, len(all))
			}
		}
	})
}

// A place that never takes what is dead keeps the message in hand, and nothing else: others go on, and the drain ends.
func TestDeadThatAreNeverTaken(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		js := jetStream(t, nc)
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if _, err := js.Publish(t.Context(), "s", fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		source, err := stream.NewSource(nc, stream.SourceConfig{
			Stream: "S", Durable: "d", Logger: slog.New(slog.DiscardHandler),
			Dead: func(context.Context, *stream.Dead) error { return errors.New("never") },
		}, stream.JSON[int])
		if err != nil {
			t.Fatal(err)
		}
		p, err := pipeline.New(pipeline.Config[int]{
			Source: source, InFlight: 10, Concurrency: 2, Logger: slog.New(slog.DiscardHandler), DrainTimeout: 10 * time.Second,
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				if m.Value == 50 {
					return millhand.Permanent(errors.New("no"))
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		begun := time.Now()
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
		if st := p.Stats(); st.Handled != 99 || time.Since(begun) > 11*time.Minute {
			t.Errorf("%+v after %v", st, time.Since(begun))
		}
	})
}
