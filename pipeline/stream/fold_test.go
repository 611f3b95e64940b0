package stream_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// A counter encodes itself.
type counter struct{ n uint32 }

// AppendBinary implements [encoding.BinaryAppender].
func (c *counter) AppendBinary(b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint32(b, c.n), nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (c *counter) UnmarshalBinary(b []byte) error {
	if len(b) != 4 {
		return errors.New("no counter")
	}
	c.n = binary.BigEndian.Uint32(b)
	return nil
}

// table is what a sink keeps of windows: of each key and start the row with the greatest revision.
type table struct {
	mu     sync.Mutex
	rows   map[string]pipeline.Window[string, int]
	byID   map[string]int
	tries  map[string]int // by id
	broken []string
}

// tried counts the calls for a window.
func (s *table) tried(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tries == nil {
		s.tries = map[string]int{}
	}
	s.tries[id]++
	return s.tries[id]
}

func (s *table) save(w pipeline.Window[string, int], id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows == nil {
		s.rows, s.byID = map[string]pipeline.Window[string, int]{}, map[string]int{}
	}
	if before, ok := s.byID[id]; ok && before != w.Value {
		s.broken = append(s.broken, fmt.Sprintf("%s is %d, and was %d", id, w.Value, before))
	}
	s.byID[id] = w.Value
	key := w.Key + strconv.FormatInt(w.Start.Unix(), 10)
	if w.Revision >= s.rows[key].Revision {
		s.rows[key] = w
	}
}

// sum returns how many events all windows have together.
func (s *table) sum(t *testing.T) (n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.rows {
		n += w.Value
	}
	for _, b := range s.broken {
		t.Error(b)
	}
	return n
}

// counted is the configuration of a pipeline that counts events of each key in ten of them.
func counted(o *stream.Ordered[event], out *table) pipeline.Config[event] {
	f := pipeline.NewFold(pipeline.FoldConfig[string, event, *counter]{
		Name: "tens", Key: func(e event) string { return e.Key }, At: func(e event) time.Time { return time.Unix(int64(e.N), 0) },
		Size: 10 * time.Second, Delay: time.Second, Late: 5 * time.Second, IdleAfter: 15 * time.Second, State: o.Store(),
		Zero: func(string) *counter { return new(counter) },
		Fold: func(c *counter, _ event) *counter { c.n++; return c },
		Handle: func(_ context.Context, w *pipeline.Window[string, *counter]) error {
			if w.Start.Unix()%70 == 30 && out.tried(w.ID()) < 3 {
				return errors.New("the table is locked")
			}
			out.save(pipeline.Window[string, int]{Key: w.Key, Start: w.Start, Value: int(w.Value.n), Revision: w.Revision}, w.ID())
			return nil
		},
	})
	return pipeline.Config[event]{
		Source: o, Batchers: []pipeline.AnyBatcher{f},
		Process: func(_ context.Context, m *pipeline.Message[event]) error { f.Add(m, m.Value); return nil },
	}
}

// closeWindows tells of an event of each key that is far ahead, which closes all windows but its own, and
// returns how many events there were before.
func (s *scene) closeWindows(next map[string]int) (total int) {
	s.t.Helper()
	for key, n := range next {
		total += n
		next[key] += 1000
	}
	s.tell(next, len(next), 1)
	return total
}

// A fold's windows survive a process that ends and one that crashes, and each event counts once.
func TestFold(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		var out table
		p := startOrdered(t, counted(s.ordered(nil), &out))
		s.tell(next, 8, 25)
		time.Sleep(10 * time.Second)
		if n := out.sum(t); n != 8*19 { // 1 to 9, and 10 to 19
			t.Errorf("%d counted in windows that are closed", n)
		}
		drainOrdered(t, p)
		link := s.server.Link()
		startOrdered(t, counted(s.ordered(link), &out))
		s.tell(next, 8, 25)
		time.Sleep(3 * time.Second)
		link.Crash()
		s.tell(next, 8, 25)
		startOrdered(t, counted(s.ordered(nil), &out))
		want := s.closeWindows(next)
		time.Sleep(2 * time.Minute)
		if n := out.sum(t); n != want || want != 8*75 {
			t.Errorf("%d counted, want %d", n, want)
		}
	})
}

// Members of a group that counts join, leave, crash and freeze at random: the sum over all windows, each by its last
// revision, is the number of events, and a window that is handled twice has the same value.
func TestFoldCampaign(t *testing.T) {
	inCampaigns(t, func(t *testing.T, s *scene, random *rand.Rand) {
		next := map[string]int{}
		var out table
		s.campaign(random, next, func(link *natstest.Link) pipeline.Config[event] { return counted(s.ordered(link), &out) })
		total := s.closeWindows(next)
		time.Sleep(5 * time.Minute)
		if n := out.sum(t); n != total {
			t.Errorf("%d counted, want %d", n, total)
		}
	})
}

// stateOf is a pipeline that folds all events of a key into 100 KiB for each, in windows of an hour.
func stateOf(o *stream.Ordered[event], handle func(size int)) pipeline.Config[event] {
	f := pipeline.NewFold(pipeline.FoldConfig[string, event, []byte]{
		Key: func(e event) string { return e.Key }, At: func(e event) time.Time { return time.Unix(int64(e.N), 0) }, Size: time.Hour, State: o.Store(),
		Zero:   func(string) []byte { return nil },
		Fold:   func(b []byte, _ event) []byte { return append(b, make([]byte, 100<<10)...) },
		Handle: func(_ context.Context, w *pipeline.Window[string, []byte]) error { handle(len(w.Value)); return nil },
	})
	return pipeline.Config[event]{
		Source: o, Batchers: []pipeline.AnyBatcher{f},
		Process: func(_ context.Context, m *pipeline.Message[event]) error { f.Add(m, m.Value); return nil },
	}
}

// What is too large for the cursor is in chunks beside it, of which only those are kept that are needed.
func TestFoldOfALargeState(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		var last seen[int]
		config := func() pipeline.Config[event] { return stateOf(s.ordered(nil), last.add) }
		for range 3 {
			p := startOrdered(t, config())
			s.tell(next, 1, 10)
			time.Sleep(15 * time.Second)
			drainOrdered(t, p)
		}
		next["k0"] = 4000 // closes the window
		s.tell(next, 1, 1)
		p := startOrdered(t, config())
		time.Sleep(15 * time.Second)
		drainOrdered(t, p)
		if all := last.list(); len(all) != 1 || all[0] != 30*100<<10 {
			t.Errorf("windows of %d bytes", all)
		}
		state, err := s.js.Stream(t.Context(), "millhand-state")
		if err != nil {
			t.Fatal(err)
		}
		if info := state.CachedInfo(); info.State.Msgs > 4+10 {
			t.Errorf("%d messages of state are left", info.State.Msgs)
		}
	})
}
