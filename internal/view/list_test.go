package view_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/view"
)

func parse(t *testing.T, text string) filter.Filter {
	t.Helper()
	f, err := filter.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// list returns the ids of all jobs that match, page by page.
func (m *mill) list(t *testing.T, text string, n int, order view.Order) (ids []string, pages []*view.Page) {
	t.Helper()
	q := view.Query{Filter: parse(t, text), N: n, Order: order}
	for {
		page, err := m.view.List(t.Context(), q)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(page.Jobs) > n && page.Class != filter.Point {
			t.Fatalf("%q: %d jobs on a page of %d", text, len(page.Jobs), n)
		}
		for _, j := range page.Jobs {
			ids = append(ids, j.ID)
		}
		pages = append(pages, page)
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return ids, pages
		}
		if len(pages) > 1000 {
			t.Fatalf("%q: no end, at %s", text, q.Cursor)
		}
	}
}

// Jobs in every state are found by what a filter says of them, once each, whatever the size of a page.
func TestList(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hireFates(t)
		time.Sleep(time.Second)
		enqueue := func(typ string, n int, opts ...millhand.EnqueueOption) (ids []string) {
			for i := range n {
				id := fmt.Sprintf("%s-%d-%d", typ, time.Now().Unix(), i)
				all := append([]millhand.EnqueueOption{millhand.WithID(id), millhand.WithMeta("n", strconv.Itoa(i))}, opts...)
				if _, err := m.client.Enqueue(t.Context(), millhand.Raw{Name: typ, Payload: fmt.Appendf(nil, `{"customer":"c%d"}`, i)}, all...); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, id)
				time.Sleep(100 * time.Millisecond) // so that they end in this order
			}
			time.Sleep(2 * time.Second)
			return ids
		}
		failing, dead, done := enqueue("fail", 3), enqueue("die", 4), enqueue("finish", 5)
		other := enqueue("die", 2, millhand.WithQueue("other"))
		scheduled := enqueue("finish", 3, millhand.WithDelay(time.Hour))
		waiting := enqueue("wait", 6)
		running, ready := waiting[:1], waiting[1:]
		unclaimed := enqueue("nobody", 2)

		for _, c := range []struct {
			filter string
			want   []string
		}{
			{"state:running", running},
			{"state:ready", slices.Concat(ready, unclaimed)},
			{"state:ready type:wait", ready},
			{"state:ready type:nobody", unclaimed},
			{"state:ready -type:wait", unclaimed},
			{"state:scheduled", backwards(scheduled)},
			{"state:retrying", backwards(failing)},
			{"state:retrying error:luck", backwards(failing)},
			{"state:retrying error:hope", nil},
			{"state:dead", backwards(slices.Concat(dead, other))},
			{"state:dead queue:other", backwards(other)},
			{"state:dead type:die queue:default", backwards(dead)},
			{"state:dead error:HOPE reason:permanent", backwards(slices.Concat(dead, other))},
			{"state:dead age:<1s", nil},
			{"state:succeeded", backwards(done)},
			{"state:cancelled", nil},
			{"type:finish", slices.Concat(backwards(scheduled), backwards(done))},
			{"meta.n:1 state:dead,ready", []string{ready[0], unclaimed[1], other[1], dead[1]}},
			{"payload:C3 state:dead", []string{dead[3]}},
			{"id:" + dead[2], []string{dead[2]}},
			{"id:" + running[0] + " state:running", running},
			{"id:" + running[0] + " state:ready", nil},
			{"id:" + dead[0] + "," + done[0], []string{dead[0], done[0]}},
			{"queue:none", nil},
		} {
			for _, n := range []int{1, 2, 50} {
				ids, pages := m.list(t, c.filter, n, view.Usual)
				if !slices.Equal(ids, c.want) {
					t.Errorf("%s, %d a page: %q, want %q", c.filter, n, ids, c.want)
				}
				if total := pages[0].Total; total.Known() && total.Value != int64(len(c.want)) {
					t.Errorf("%s: total %+v, want %d", c.filter, total, len(c.want))
				}
			}
		}
		ids, _ := m.list(t, "state:dead", 2, view.OldestFirst)
		if want := slices.Concat(dead, other); !slices.Equal(ids, want) {
			t.Errorf("dead, oldest first: %q, want %q", ids, want)
		}
		ids, _ = m.list(t, "state:ready type:wait", 2, view.NewestFirst)
		if !slices.Equal(ids, backwards(ready)) {
			t.Errorf("ready, newest first: %q, want %q", ids, backwards(ready))
		}
	})
}

func backwards(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Reverse(ids)
	return ids
}

// A cursor of another list is refused.
func TestCursorOfAnotherList(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hire(t, millhand.WorkerConfig{Concurrency: 1}, m.wait, "email")
		time.Sleep(time.Second)
		m.enqueue(t, 10, "email")
		time.Sleep(time.Second)
		page, err := m.view.List(t.Context(), view.Query{Filter: parse(t, "state:ready"), N: 2})
		if err != nil || page.Cursor == "" || len(page.Cursor) > 24 {
			t.Fatalf("page %+v, %v", page, err)
		}
		for _, q := range []view.Query{
			{Filter: parse(t, "state:dead"), Cursor: page.Cursor},
			{Filter: parse(t, "state:ready"), Cursor: page.Cursor[:4]},
			{Filter: parse(t, "state:ready"), Cursor: "!"},
		} {
			if _, err := m.view.List(t.Context(), q); !errors.Is(err, view.ErrCursor) {
				t.Errorf("%s at %s: %v", q.Filter, q.Cursor, err)
			}
		}
	})
}
