package stream_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/registry"
	internal "github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

func (s *scene) registry() *registry.Store {
	s.t.Helper()
	log := slog.New(slog.DiscardHandler)
	client, err := internal.New(s.nc, internal.Config{Logger: log})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(client.Close)
	return registry.NewStore(client, log)
}

// readers are the processes that read streams.
func (s *scene) readers(store *registry.Store) []registry.Node {
	s.t.Helper()
	v, err := store.Survey(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if len(v.Nodes) > 0 {
		s.t.Errorf("workers: %v", v.Nodes)
	}
	return v.Readers
}

// Each process of a group says which partitions it has and what waits in them. By an order to drain it gives them up.
func TestOrderedIsShown(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		s.tell(next, 20, 1)
		store, held := s.registry(), make(chan struct{})
		hold := func(ctx context.Context, _ *pipeline.Message[event]) error {
			select {
			case <-held:
			case <-ctx.Done():
			}
			return nil
		}
		start := func() {
			startOrdered(t, pipeline.Config[event]{Name: "crm of us", Source: s.ordered(nil), InFlight: 10, Process: hold})
		}
		start()
		time.Sleep(10 * time.Second)
		s.tell(next, 20, 100) // more than is read ahead
		time.Sleep(10 * time.Second)
		all := s.readers(store)
		if len(all) != 1 || len(all[0].Pipelines) != 1 || !strings.HasPrefix(all[0].ID, "crm-of-us-") {
			t.Fatalf("readers %+v", all)
		}
		p := all[0].Pipelines[0]
		if p.Name != "crm of us" || p.Stream != "S" || p.Consumer != "g" || p.Of != partitions || p.State != string(pipeline.StateFull) ||
			p.InHand != 10 || p.Lag == nil || *p.Lag != 20*101 || p.LagAge == nil || *p.LagAge < 10 || len(p.Partitions) != partitions {
			t.Errorf("shown as %+v", p)
		}

		start()
		close(held)
		time.Sleep(10 * time.Second)
		all = s.readers(store)
		if len(all) != 2 || len(all[0].Pipelines[0].Partitions) != partitions/2 || len(all[1].Pipelines[0].Partitions) != partitions/2 {
			t.Fatalf("readers %+v", all)
		}
		if p := all[0].Pipelines[0]; *p.Lag != 0 || p.State != string(pipeline.StateAsking) {
			t.Errorf("shown as %+v", p)
		}

		drained, other := all[0].ID, all[1].ID
		if err := store.Drain(t.Context(), drained); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		for _, n := range s.readers(store) {
			want, state := partitions, registry.Working
			if n.ID == drained {
				want, state = 0, registry.Draining
			}
			if len(n.Pipelines[0].Partitions) != want || n.State != state {
				t.Errorf("%s is %s and has %v", n.ID, n.State, n.Pipelines[0].Partitions)
			}
		}
		if err := store.Undrain(t.Context(), drained); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		for _, n := range s.readers(store) {
			if len(n.Pipelines[0].Partitions) != partitions/2 || n.State != registry.Working || n.ID != drained && n.ID != other {
				t.Errorf("%s is %s and has %v", n.ID, n.State, n.Pipelines[0].Partitions)
			}
		}
	})
}

// A process that shares a stream says what waits in it for all of them. It makes no registry, and takes nothing
// while an order has it drain.
func TestSharedIsShown(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		store := s.registry()
		var handled atomic.Int64
		r := start(t, pipeline.Config[int]{
			Name: "warehouse", Source: s.source(stream.SourceConfig{}), InFlight: 10,
			Process: func(context.Context, *pipeline.Message[int]) error { handled.Add(1); return nil },
		})
		time.Sleep(time.Minute)
		if _, err := s.js.Stream(t.Context(), store.Bucket().Stream()); err == nil {
			t.Error("it has made a registry")
		}
		if err := store.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		all := s.readers(store)
		if len(all) != 1 {
			t.Fatalf("readers %+v", all)
		}
		if p := all[0].Pipelines[0]; p.Stream != "S" || p.Consumer != "d" || p.State != string(pipeline.StateAsking) || p.Lag == nil || *p.Lag != 0 || p.Of != 0 {
			t.Errorf("shown as %+v", p)
		}
		if err := store.Drain(t.Context(), all[0].ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.publish(1, 5)
		time.Sleep(10 * time.Second)
		all = s.readers(store)
		if p := all[0].Pipelines[0]; all[0].State != registry.Draining || p.State != string(pipeline.StateShut) || *p.Lag != 5 || handled.Load() > 0 {
			t.Errorf("%d handled, %s, shown as %+v", handled.Load(), all[0].State, p)
		}
		if err := store.Undrain(t.Context(), all[0].ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if handled.Load() != 5 {
			t.Errorf("%d handled", handled.Load())
		}
		unserved := func() []registry.KnownPipeline {
			v, err := store.Survey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return v.Unserved()
		}
		if all := unserved(); len(all) > 0 {
			t.Errorf("unserved %+v", all)
		}
		r.drain(t, 10*time.Second)
		if all := s.readers(store); len(all) > 0 {
			t.Errorf("readers %+v", all)
		}
		if all := unserved(); len(all) != 1 || all[0].Name != "warehouse" || all[0].Stream != "S" || all[0].Consumer != "d" || all[0].Of != 0 {
			t.Errorf("unserved %+v", all)
		}
	})
}

// A user who may not write to the registry has a pipeline all the same, and is told once.
func TestHiddenPipeline(t *testing.T) {
	const denied = "$KV.millhand-registry.>"
	connect := deniable(t, []string{denied}, "_INBOX.>")
	owner := connect("owner")
	js, err := jetstream.New(owner)
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, nc: owner, js: js}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.registry().Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s.a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 100)
	log := natstest.Logger(natstest.Output(t))
	source, err := stream.NewSource(connect(denied), stream.SourceConfig{Stream: "S", Durable: "d", Dead: stream.Drop, Logger: slog.New(telling{log.Handler(), told})}, stream.JSON[int])
	if err != nil {
		t.Fatal(err)
	}
	handled := make(chan int, 1)
	start(t, pipeline.Config[int]{Source: source, Process: func(_ context.Context, m *pipeline.Message[int]) error { handled <- m.Value; return nil }})
	<-handled
	for line := <-told; !strings.Contains(line, "this user may not write to the registry"); {
		line = <-told
	}
	if v, err := s.registry().Survey(t.Context()); err != nil || len(v.Readers) > 0 {
		t.Errorf("readers %+v, %v", v.Readers, err)
	}
}

// telling sends each message of a log.
type telling struct {
	slog.Handler

	to chan<- string
}

func (h telling) Handle(ctx context.Context, r slog.Record) error {
	h.to <- r.Message
	return h.Handler.Handle(ctx, r)
}

func (h telling) WithAttrs(attrs []slog.Attr) slog.Handler {
	return telling{h.Handler.WithAttrs(slices.Clone(attrs)), h.to}
}
