package view_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

// What no consumer covers is told apart: jobs that wait for their time, after a failure or not, ids that
// are kept, and ready jobs of types that nobody has ever served.
func TestRestIsToldApart(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hireFates(t)
		time.Sleep(time.Second)
		m.enqueue(t, 3, "fail")
		m.enqueue(t, 4, "finish", millhand.WithDelay(time.Hour))
		m.enqueue(t, 5, "nobody")
		for _, id := range []string{"a", "b"} {
			if _, err := m.client.Enqueue(t.Context(), millhand.Raw{Name: "finish"}, millhand.WithID(id), millhand.WithUniqueFor(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		if err := registry.NewStore(m.js, natstest.Logger(t.Output())).PauseType(t.Context(), "default", "nobody", "", 0); err != nil { // which changes no count
			t.Fatal(err)
		}
		q := m.snapshot(t).Queues[0]
		for _, c := range []struct {
			what string
			got  view.Count
			want int64
		}{
			{"later", q.Later, 7},
			{"scheduled", q.Scheduled, 4},
			{"retrying", q.Retrying, 3},
			{"held", q.Held, 2},
			{"unclaimed", q.Unclaimed, 5},
			{"ready", q.Ready, 0},
		} {
			if c.got.Value != c.want || c.got.How != view.Exact {
				t.Errorf("%s: %+v, want %d", c.what, c.got, c.want)
			}
		}
		found := false
		for _, typ := range q.Types {
			if typ.Name == "nobody" {
				found = typ.Ready.Value == 5 && !typ.Consumer && typ.Workers == 0 && typ.Oldest.Seq > 0
			}
		}
		if !found {
			t.Errorf("types %+v, want nobody with 5 ready jobs", q.Types)
		}
	})
}

// Jobs of a type that nobody has served are counted at the first look, with no registry to name it and however
// many jobs of others hide them from a sample.
func TestUnservedIsCountedAtTheFirstLook(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hire(t, millhand.WorkerConfig{Concurrency: 1}, m.wait, "email")
		time.Sleep(time.Second)
		m.enqueue(t, 1000, "email")
		m.enqueue(t, 2, "nobody")
		m.enqueue(t, 1000, "email")
		time.Sleep(5 * time.Second)
		if err := m.js.JetStream().DeleteStream(t.Context(), "KV_millhand-registry"); err != nil {
			t.Fatal(err)
		}
		if q := m.snapshot(t).Queues[0]; q.Ready.Value != 1999 || q.Unclaimed.Value != 2 {
			t.Errorf("ready %+v, unclaimed %+v, want 1999 and 2", q.Ready, q.Unclaimed)
		}
	})
}

// The beginning of a UUIDv7 says when its job was enqueued, so little is read to find it.
func TestPrefixOfAnID(t *testing.T) {
	natstest.BubbleAt(t, time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hireFates(t)
		time.Sleep(time.Second)
		var ids []string
		for range 6 {
			// By the bubble's clock: a generator never goes back to before what it made in an earlier run.
			ms := fmt.Sprintf("%012x", time.Now().UnixMilli())
			id := ms[:8] + "-" + ms[8:] + "-7000-8000-000000000000"
			if _, err := m.client.Enqueue(t.Context(), millhand.Raw{Name: "die"}, millhand.WithID(id)); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
			time.Sleep(3 * time.Minute) // more than a search allows for, and than eight digits of an id are
		}
		for _, n := range []int{0, 3, 5} {
			page := m.page(t, "state:dead id:"+ids[n][:8]+"*", view.Usual)
			if len(page.Jobs) != 1 || page.Jobs[0].ID != ids[n] || page.Looked.Messages > int64(6-n) {
				t.Errorf("%s: %d jobs, looked at %d", ids[n][:8], len(page.Jobs), page.Looked.Messages)
			}
		}
	})
}

// A read of a type's oldest ready job costs nothing while none was handed out, and is right after.
func TestOldestFollowsTheQueue(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hire(t, millhand.WorkerConfig{Concurrency: 1}, m.wait, "email")
		time.Sleep(time.Second)
		oldest := func() view.Oldest {
			q := m.snapshot(t).Queues[0]
			return q.Types[0].Oldest
		}
		if o := oldest(); o.How != view.Exact || o.Seq != 0 {
			t.Errorf("of nothing: %+v", o)
		}
		m.enqueue(t, 1, "email")
		time.Sleep(time.Second)
		refs := m.enqueue(t, 1, "email")
		first := time.Now()
		time.Sleep(time.Minute)
		m.enqueue(t, 3, "email")
		if o := oldest(); o.How != view.Exact || !o.At.Equal(first) {
			t.Errorf("of four: %+v, want since %v", o, first)
		}
		if _, err := m.client.Cancel(t.Context(), refs[0]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if o := oldest(); o.How != view.Exact || !o.At.Equal(first.Add(time.Minute)) {
			t.Errorf("once that is cancelled: %+v", o)
		}
	})
}
