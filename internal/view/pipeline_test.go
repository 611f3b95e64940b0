package view_test

import (
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

// What the processes of a pipeline say adds up: each partition has one owner, the newest that says so, and a worker
// that takes the requeued messages of a process's stream is not a second process of it.
func TestSnapshotHasPipelines(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		store := registry.NewStore(m.js, slog.New(slog.DiscardHandler))
		if err := store.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		part := func(n int, lag int64, age float64) registry.Partition {
			return registry.Partition{Partition: n, Lag: &lag, LagAge: &age}
		}
		put := func(n registry.Node) {
			t.Helper()
			value, err := json.Marshal(n)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Bucket().Put(t.Context(), stream.Write{Key: "node." + n.ID, Value: value, TTL: 10 * time.Second}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		crm := func(state string, inHand int, parts ...registry.Partition) []registry.Pipeline {
			age := 7.5
			return []registry.Pipeline{{Name: "crm", Stream: "CHANGES", Consumer: "g", Of: 4, State: state, InHand: inHand, Processed: 10, Failed: 1, LagAge: &age, Partitions: parts}}
		}
		put(registry.Node{ID: "a", Host: "h", PID: 1, Pipelines: crm("full", 3, part(0, 5, 7.5), part(1, 2, 1))})
		put(registry.Node{ID: "b", Host: "h", PID: 2, Pipelines: crm("asking", 1, part(1, 4, 2), part(2, 0, 0))})
		put(registry.Node{ID: "w", Host: "h", PID: 1, Queues: []string{"crm"}, Types: []string{"CHANGES"}, Pipelines: []registry.Pipeline{{Name: "crm"}, {Name: "push", InHand: 2}}})
		put(registry.Node{ID: "z", Host: "h", PID: 3, Pipelines: []registry.Pipeline{{Name: "zz", Stream: "S", Of: 1 << 40}}}) // no process of ours
		snap, err := m.view.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(snap.Workers) != 1 || len(snap.Readers) != 3 || len(snap.Pipelines) != 3 || len(snap.Pipelines[2].Partitions) != registry.MaxPartitions {
			t.Fatalf("workers %v, readers %v, pipelines %+v", snap.Workers, snap.Readers, snap.Pipelines)
		}
		p := snap.Pipelines[0]
		var owners []string
		for _, part := range p.Partitions {
			owners = append(owners, part.Worker)
		}
		if p.Name != "crm" || p.InHand != 4 || p.Processed != 20 || p.Failed != 2 || p.Lag == nil || *p.Lag != 5+4 || p.LagAge == nil || *p.LagAge != 7.5 ||
			len(p.Processes) != 2 || !slices.Equal(owners, []string{"a", "b", "b", ""}) || !slices.Equal(p.Unowned(), []int{3}) {
			t.Errorf("added up to %+v", p)
		}
		if held := p.Held(); len(held) != 1 || held["full"] != 1 {
			t.Errorf("held %v", held)
		}
		if of := p.Of("b"); len(of) != 2 {
			t.Errorf("b has %v", of)
		}
		if p := snap.Pipelines[1]; p.Name != "push" || p.InHand != 2 || len(p.Processes) != 1 {
			t.Errorf("added up to %+v", p)
		}
	})
}
