package view_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// follow runs a pipeline in a process of its own.
func follow(t *testing.T, c pipeline.Config[int]) (stop func() error) {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	c.Process = func(context.Context, *pipeline.Message[int]) error { return nil }
	p, err := pipeline.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// A pipeline that was there is shown while it could go on, whether its process has stopped or crashed, with what waits
// for it. What that costs does not depend on how much it is.
func TestSnapshotHasPipelinesWithoutAProcess(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		if err := registry.NewStore(m.js, slog.New(slog.DiscardHandler)).Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		js := m.js.JetStream()
		publish := func(subject string, n int) {
			for i := range n {
				if _, err := js.PublishAsync(fmt.Sprintf("%s.%d", subject, i), []byte("1")); err != nil {
					t.Fatal(err)
				}
			}
			<-js.PublishAsyncComplete()
		}
		parts, err := stream.Partitioned(jetstream.StreamConfig{Name: "CHANGES", Subjects: []string{"changes.*"}}, 4, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, cfg := range []jetstream.StreamConfig{parts, {Name: "ORDERS", Subjects: []string{"orders.*"}}} {
			if _, err := js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
		publish("changes", 50)
		publish("orders", 50)
		one, other := s.Link(), s.Link()
		orders, err := stream.NewSource(one.Connect(t), stream.SourceConfig{Stream: "ORDERS", Durable: "books", Dead: stream.Drop, Logger: slog.New(slog.DiscardHandler)}, stream.JSON[int])
		if err != nil {
			t.Fatal(err)
		}
		changes, err := stream.NewOrdered(other.Connect(t), stream.OrderedConfig{
			Stream: "CHANGES", Group: "crm", Partitions: 4, Subject: "changes.{partition}.*", Dead: stream.Drop, Logger: slog.New(slog.DiscardHandler),
		}, stream.JSON[int])
		if err != nil {
			t.Fatal(err)
		}
		stopOrders := follow(t, pipeline.Config[int]{Name: "books", Source: orders})
		stopChanges := follow(t, pipeline.Config[int]{Name: "customers", Source: changes})
		time.Sleep(20 * time.Second)
		served := m.snapshot(t)
		if len(served.Pipelines) != 2 || served.Pipelines[0].Unserved() || served.Pipelines[1].Unserved() {
			t.Fatalf("pipelines %+v", served.Pipelines)
		}

		if err := stopOrders(); err != nil {
			t.Error(err)
		}
		other.Hold() // it is gone when its presence has expired
		defer func() {
			other.Release()
			_ = stopChanges() // its stream is gone by then
		}()
		time.Sleep(20 * time.Second)
		publish("changes", 3)
		publish("orders", 5)
		small := m.asked.during(func() { m.wantUnserved(t, 5, 3) })
		time.Sleep(20 * time.Second)
		publish("changes", 2000)
		publish("orders", 2000)
		large := m.asked.during(func() { m.wantUnserved(t, 2005, 2003) })
		if total(large, "") > total(small, "") {
			t.Errorf("%v asked with little that waits, and %v with more", small, large)
		}

		if err := js.DeleteConsumer(t.Context(), "ORDERS", "books"); err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteStream(t.Context(), "CHANGES"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if snap := m.snapshot(t); len(snap.Pipelines) > 0 || len(snap.Missing) > 0 {
			t.Errorf("they cannot go on: %+v, %+v", snap.Pipelines, snap.Missing)
		}
	})
}

// wantUnserved fails the test unless both pipelines are shown without a process, with as much that waits.
func (m *mill) wantUnserved(t *testing.T, orders, changes int64) {
	t.Helper()
	snap := m.snapshot(t)
	if len(snap.Pipelines) != 2 {
		t.Fatalf("pipelines %+v", snap.Pipelines)
	}
	books, crm := snap.Pipelines[0], snap.Pipelines[1]
	if !books.Unserved() || books.Name != "books" || books.Stream != "ORDERS" || books.Consumer != "books" || books.LagAbout || *books.Lag != orders || books.LastActive.IsZero() {
		t.Errorf("shown as %+v", books)
	}
	if !crm.Unserved() || crm.Name != "customers" || crm.Stream != "CHANGES" || crm.Consumer != "crm" || !crm.LagAbout || *crm.Lag != changes || len(crm.Unowned()) != 4 {
		t.Errorf("shown as %+v", crm)
	}
	if again := m.snapshot(t); len(again.Pipelines) != 2 {
		t.Errorf("a second look: %+v", again.Pipelines)
	}
}

// know has the registry remember a pipeline.
func (m *mill) know(t *testing.T, k registry.KnownPipeline) {
	t.Helper()
	value, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.js.JetStream().Publish(t.Context(), "$KV.millhand-registry.pipe."+k.Name, value); err != nil {
		t.Fatal(err)
	}
}

// What the broker does not say of a pipeline without a process is told to be missing, and the pipeline is shown.
func TestUnservedPipelineOfWhichNothingIsKnown(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		store := registry.NewStore(m.js, slog.New(slog.DiscardHandler))
		if err := store.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.know(t, registry.KnownPipeline{Name: "books", Stream: "ORDERS", Consumer: "books"})
		m.link.Watch(func(subject string) natstest.Fate {
			if subject == "$JS.API.CONSUMER.INFO.ORDERS.books" {
				return natstest.Lost
			}
			return natstest.Pass
		})
		snap, err := m.view.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(snap.Pipelines) != 1 || snap.Pipelines[0].Lag != nil || !snap.Pipelines[0].Unserved() || snap.Pipelines[0].LastActive.IsZero() {
			t.Errorf("shown as %+v", snap.Pipelines)
		}
		if len(snap.Missing) != 1 || !errors.Is(snap.Missing[0].Err, context.DeadlineExceeded) {
			t.Errorf("missing %+v", snap.Missing)
		}
	})
}

// A group whose cursors are too large to be looked at is shown, and what waits is not known.
func TestUnservedGroupOfLargeCursors(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		store := registry.NewStore(m.js, slog.New(slog.DiscardHandler))
		if err := store.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.know(t, registry.KnownPipeline{Name: "minutes", Stream: "CLICKS", Consumer: "minutes", Of: 16})
		js := m.js.JetStream()
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "millhand-state", Subjects: []string{"millhand.state.>"}, AllowDirect: true}); err != nil {
			t.Fatal(err)
		}
		for n := range 16 {
			if _, err := js.Publish(t.Context(), fmt.Sprintf("millhand.state.minutes.%d", n), make([]byte, 900<<10)); err != nil {
				t.Fatal(err)
			}
		}
		var snap *view.Snapshot
		asked := m.asked.during(func() { snap = m.snapshot(t) })
		if len(snap.Pipelines) != 1 || snap.Pipelines[0].Lag != nil || len(snap.Missing) > 0 || total(asked, "$JS.API.DIRECT.GET.millhand-state") > 2 {
			t.Errorf("shown as %+v, missing %+v, asked %v", snap.Pipelines, snap.Missing, asked)
		}
	})
}
