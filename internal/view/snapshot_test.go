package view_test

import (
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/view"
)

// Of a namespace that is not there yet a snapshot is empty, and looking makes nothing.
func TestSnapshotOfNothing(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		snap := m.snapshot(t)
		if len(snap.Queues)+len(snap.Workers)+len(snap.Pools)+len(snap.Streams) > 0 || snap.Dead.Value != 0 || snap.Dead.How != view.Exact {
			t.Errorf("snapshot %+v", snap)
		}
		names, err := m.js.Names(t.Context(), ">")
		if err != nil || len(names) > 0 {
			t.Errorf("there are streams %q, %v", names, err)
		}
	})
}

// A snapshot tells where the jobs of each queue and type are.
func TestSnapshotCounts(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hire(t, millhand.WorkerConfig{Name: "a", Concurrency: 3, Queues: []millhand.Queue{{Name: "default"}, {Name: "low"}}}, m.wait, "import", "email")
		time.Sleep(time.Second)
		if err := m.client.SetQuota(t.Context(), millhand.Quota{Type: "import", Limit: 2}); err != nil {
			t.Fatal(err)
		}
		if err := m.client.Pause(t.Context(), "low"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		m.enqueue(t, 5, "import")
		m.enqueue(t, 4, "email", millhand.WithQueue("low"))
		m.enqueue(t, 7, "email", millhand.WithDelay(time.Hour))
		time.Sleep(5 * time.Second)

		snap := m.snapshot(t)
		if len(snap.Queues) != 2 || len(snap.Workers) != 1 || len(snap.Pools) != 1 {
			t.Fatalf("snapshot %+v", snap)
		}
		def, low := snap.Queues[0], snap.Queues[1]
		for _, c := range []struct {
			what string
			got  view.Count
			want int64
			how  view.How
		}{
			{"ready", def.Ready, 3, view.Exact},
			{"in hand", def.InHand, 2, view.Exact},
			{"running", def.Running, 2, view.Exact},
			{"later", def.Later, 7, view.Exact},
			{"scheduled", def.Scheduled, 7, view.Exact},
			{"retrying", def.Retrying, 0, view.Exact},
			{"unclaimed", def.Unclaimed, 0, view.Exact},
			{"messages", def.Messages, 13, view.Exact},
			{"ready in low", low.Ready, 4, view.Exact},
			{"running in low", low.Running, 0, view.Exact},
			{"dead", snap.Dead, 0, view.Exact},
		} {
			if c.got.Value != c.want || c.got.How != c.how || snap.At.Sub(c.got.At) > 5*time.Second {
				t.Errorf("%s: %+v, want %d, %s", c.what, c.got, c.want, c.how)
			}
		}
		if def.Paused != nil || low.Paused == nil || low.Paused.Since.IsZero() {
			t.Errorf("paused %v, %v", def.Paused, low.Paused)
		}
		if names := typeNames(def.Types); !slices.Equal(names, []string{"email", "import"}) {
			t.Fatalf("types %q", names)
		}
		if imp := def.Types[1]; imp.Ready.Value != 3 || imp.InHand.Value != 2 || imp.Running.Value != 2 || imp.Workers != 1 || !imp.Consumer || imp.LastActive.IsZero() {
			t.Errorf("import %+v", imp)
		}
		if p := snap.Pools[0]; p.Name != "import" || p.Limit != 2 || p.Held != 2 || p.Used != 2 || len(p.Grants) != 1 || p.Grants[0].Worker != snap.Workers[0].ID {
			t.Errorf("pool %+v", p)
		}
		var streams []string
		for _, s := range snap.Streams {
			streams = append(streams, s.Name)
		}
		for _, name := range []string{"millhand-queue-default", "millhand-queue-low", "millhand-events", "millhand-dead"} {
			if !slices.Contains(streams, name) {
				t.Errorf("streams %q, without %s", streams, name)
			}
		}
	})
}

// A consumer whose leader is silent does not hold up the others, nor is what it has taken for nothing.
func TestSnapshotWithASilentLeader(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hire(t, millhand.WorkerConfig{Concurrency: 1}, m.wait, "email", "import")
		time.Sleep(time.Second)
		m.enqueue(t, 3, "email")
		m.enqueue(t, 4, "import")
		time.Sleep(time.Second)
		m.asked.lost = []string{"$JS.API.CONSUMER.LIST.millhand-queue-default", "$JS.API.CONSUMER.INFO.millhand-queue-default.email"}
		began := time.Now()
		snap, err := m.view.Snapshot(t.Context())
		if took := time.Since(began); err != nil || took > 1500*time.Millisecond {
			t.Fatalf("took %v: %v", took, err)
		}
		q := snap.Queues[0]
		if names := typeNames(q.Types); !slices.Equal(names, []string{"email", "import"}) {
			t.Fatalf("types %q", names)
		}
		if email := q.Types[0]; email.Ready.Known() || email.Workers != 1 || !email.Consumer {
			t.Errorf("email %+v", email)
		}
		imp := q.Types[1]
		if imp.Ready.How != view.Exact || imp.Ready.Value+imp.InHand.Value != 4 || imp.Oldest.How != view.Exact {
			t.Errorf("import %+v", imp)
		}
		if q.Ready != (view.Count{Value: imp.Ready.Value, How: view.AtLeast, At: q.Ready.At}) || q.Later.Known() {
			t.Errorf("ready %+v, later %+v", q.Ready, q.Later)
		}
	})
}

func typeNames(types []view.Type) (names []string) {
	for _, t := range types {
		names = append(names, t.Name)
	}
	return names
}
