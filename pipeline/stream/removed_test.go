package stream_test

import (
	"context"
	"testing"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// The stream of cursors is removed while a pipeline runs: its owners make it again as they know it, so nothing is
// handled again, and nothing is left out.
func TestCursorsAreRemoved(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		var out sink
		p := startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
		s.tell(next, 20, 10)
		time.Sleep(10 * time.Second)
		if err := s.js.DeleteStream(t.Context(), "millhand-state"); err != nil {
			t.Fatal(err)
		}
		s.tell(next, 20, 10)
		time.Sleep(30 * time.Second)
		drainOrdered(t, p)
		s.tell(next, 20, 10)
		p = startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
		time.Sleep(15 * time.Second)
		drainOrdered(t, p)
		if repeated := out.check(t, next); repeated > 0 {
			t.Errorf("%d were handled twice", repeated)
		}
	})
}

// With the cursors goes a state of many messages, which is stored again, too.
func TestStatesAreRemoved(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		var windows seen[int]
		run := func(during func()) {
			o := s.ordered(nil)
			f := pipeline.NewFold(pipeline.FoldConfig[string, event, []byte]{
				Key: func(event) string { return "all" }, At: func(e event) time.Time { return time.Unix(int64(e.N), 0) }, Size: time.Hour, State: o.Store(),
				Zero: func(string) []byte { return nil },
				Fold: func(b []byte, _ event) []byte { return append(b, make([]byte, 100<<10)...) },
				Handle: func(_ context.Context, w *pipeline.Window[string, []byte]) error {
					windows.add(len(w.Value))
					return nil
				},
			})
			p := startOrdered(t, pipeline.Config[event]{
				Source: o, Batchers: []pipeline.AnyBatcher{f},
				Process: func(_ context.Context, m *pipeline.Message[event]) error { f.Add(m, m.Value); return nil },
			})
			during()
			time.Sleep(15 * time.Second)
			drainOrdered(t, p)
		}
		run(func() {
			s.tell(next, 1, 20)
			time.Sleep(15 * time.Second)
			if err := s.js.DeleteStream(t.Context(), "millhand-state"); err != nil {
				t.Fatal(err)
			}
			s.tell(next, 1, 10)
		})
		next["k0"] = 4000 // closes the window
		run(func() { s.tell(next, 1, 1) })
		if all := windows.list(); len(all) != 1 || all[0] != 30*100<<10 {
			t.Errorf("windows of %d bytes, want one of %d", all, 30*100<<10)
		}
	})
}
