package view_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

// What runs is counted by queue and type, however many jobs a worker runs.
func TestRunningIsCountedByType(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hire(t, millhand.WorkerConfig{Concurrency: 200, Queues: []millhand.Queue{{Name: "default"}, {Name: "low"}}}, m.wait, "email", "import")
		time.Sleep(time.Second)
		m.enqueue(t, 130, "email")
		m.enqueue(t, 20, "import")
		m.enqueue(t, 7, "import", millhand.WithQueue("low"))
		time.Sleep(5 * time.Second)
		snap := m.snapshot(t)
		for _, c := range []struct {
			what string
			got  view.Count
			want int64
		}{
			{"email", snap.Queues[0].Types[0].Running, 130},
			{"email in hand", snap.Queues[0].Types[0].Claimed, 130},
			{"import", snap.Queues[0].Types[1].Running, 20},
			{"default", snap.Queues[0].Running, 150},
			{"import in low", snap.Queues[1].Types[1].Running, 7},
		} {
			if c.got.Value != c.want || c.got.How != view.Exact {
				t.Errorf("%s: %+v, want %d", c.what, c.got, c.want)
			}
		}
		workers, err := m.client.Workers(t.Context())
		if err != nil || len(workers) != 1 || workers[0].ByType["low/import"] != (millhand.WorkerLoad{Run: 7, Hand: 7}) || *workers[0].SlotsFree != 200-157 {
			t.Errorf("workers for programs: %+v, %v", workers, err)
		}
		if w := snap.Workers[0]; w.SlotsFree == nil || *w.SlotsFree != 200-157 {
			t.Errorf("worker %+v", w)
		}
	})
}

// A worker of an earlier version names its oldest jobs only: there may be more.
func TestWorkerOfAnEarlierVersion(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.enqueue(t, 1, "email")
		old := registry.Node{Name: "old", Queues: []string{"default"}, Types: []string{"email"}, State: "working", Concurrency: 200, RunningTotal: 150}
		for i := range registry.MaxRunning {
			old.Running = append(old.Running, registry.Running{ID: strconv.Itoa(i), Type: "email", Queue: "default", Since: time.Now()})
		}
		b, err := json.Marshal(old)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.client.Workers(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := registry.NewStore(m.js, natstest.Logger(t.Output())).Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.js.Publish(t.Context(), &nats.Msg{Subject: "$KV.millhand-registry.node.old", Header: nats.Header{"Nats-TTL": {"10s"}}, Data: b}); err != nil {
			t.Fatal(err)
		}
		typ := m.snapshot(t).Queues[0].Types[0]
		if typ.Running.Value != 100 || typ.Running.How != view.AtLeast || typ.Claimed.Known() || typ.Workers != 1 {
			t.Errorf("type %+v", typ)
		}
	})
}
