package queue

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// A gallery hears of progress.
type gallery struct {
	mu   sync.Mutex
	said []JobProgress
	at   []time.Duration // since the first
}

func (s *scene) gallery() *gallery {
	s.t.Helper()
	g := new(gallery)
	start := time.Now()
	_, err := s.store.nc.Subscribe("millhand.control.progress.>", func(m *nats.Msg) {
		var p JobProgress
		if err := json.Unmarshal(m.Data, &p); err != nil {
			s.t.Errorf("progress %s: %v", m.Data, err)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.said) == 0 {
			start = time.Now()
		}
		g.said, g.at = append(g.said, p), append(g.at, time.Since(start))
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.sleep(time.Millisecond) // the server knows of it
	return g
}

func (g *gallery) all() []JobProgress {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.said
}

func (g *gallery) heard() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var words []string
	for i, p := range g.said {
		words = append(words, fmt.Sprintf("%d/%d at %v", p.Done, p.Total, g.at[i].Round(time.Millisecond)))
	}
	return strings.Join(words, ", ")
}

func TestProgressIsToldFiveTimesASecond(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		g, n := s.gallery(), s.node("n")
		r := s.enqueue("a")
		h := n.pull()
		for i := range 990 { // as the second ends there may be another one
			for k := range 1000 {
				h.Progress(int64(1000*i+k), 2_000_000, "milling")
			}
			s.sleep(time.Millisecond)
		}
		if got := len(g.all()); got != 5 {
			t.Errorf("%d messages in a second, want 5: %s", got, g.heard())
		}
		s.sleep(time.Minute)
		if got, want := g.heard(), ", 989999/2000000 at 1s"; !strings.HasSuffix(got, want) || len(g.all()) != 6 {
			t.Errorf("%d messages, want 6: %s", len(g.all()), got)
		}
		p := g.all()[0]
		if p.ID != "a" || p.Queue != testQueue || p.Type != testType || p.Life != r.Life || p.Note != "milling" || p.Time.IsZero() {
			t.Errorf("said %+v", p)
		}
	})
}

// The first value, and the first that is all, are told at once; others have to wait.
func TestProgressToldAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		report func(s *scene, h *Delivery)
		want   string
	}{
		"first and all": {func(_ *scene, h *Delivery) { h.Progress(1, 9, ""); h.Progress(9, 9, "") }, "9/9 at 0s"},
		"one after the other": {func(s *scene, h *Delivery) {
			h.Progress(1, 9, "")
			s.sleep(10 * time.Millisecond)
			h.Progress(9, 9, "")
			s.sleep(10 * time.Millisecond)
			h.Progress(10, 10, "")
		}, "1/9 at 0s, 9/9 at 10ms, 10/10 at 210ms"},
		"at the end": {func(s *scene, h *Delivery) {
			h.Progress(1, 9, "")
			s.sleep(10 * time.Millisecond)
			h.Progress(2, 9, "")
			h.Finished()
			h.Progress(3, 9, "")
		}, "1/9 at 0s, 2/9 at 10ms"},
		"seldom": {func(s *scene, h *Delivery) {
			for i := range 3 {
				h.Progress(int64(i), 0, "")
				s.sleep(10 * time.Second)
			}
		}, "0/0 at 0s, 1/0 at 10s, 2/0 at 20s"},
		"without the lease": {func(s *scene, h *Delivery) {
			h.Progress(1, 9, "")
			s.sleep(2 * testWait)
			h.Progress(2, 9, "")
			s.sleep(time.Second)
			h.Progress(9, 9, "")
		}, "1/9 at 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				g, n := s.gallery(), s.node("n")
				s.enqueue("a")
				tt.report(s, n.pull())
				s.sleep(time.Minute)
				if got := g.heard(); got != tt.want {
					t.Errorf("heard %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// A connection that takes nothing does not hold the handler up.
func TestProgressDoesNotBlock(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		g, n := s.gallery(), s.node("n")
		s.enqueue("a")
		h := n.pull()
		n.link.Hold()
		for i := range 100 {
			before := time.Now()
			h.Progress(int64(i), 100, strings.Repeat("é", 200))
			if took := time.Since(before); took > 0 {
				t.Fatalf("it took %v", took)
			}
			s.sleep(100 * time.Millisecond)
		}
		if p, ok := h.LastProgress(); !ok || p.Done != 99 || len(p.Note) != job.MaxNote {
			t.Errorf("last %+v", p)
		}
		n.link.Release()
		s.sleep(time.Second)
		if got := g.heard(); !strings.Contains(got, "99/100") {
			t.Errorf("heard %s", got)
		}
	})
}

// One call costs no more than 100 ns, beside what it tells.
func BenchmarkProgress(b *testing.B) {
	s := newScene(b, natstest.Real(b))
	s.enqueue("a")
	h := s.node("n").pull()
	for i := int64(0); b.Loop(); i++ {
		h.Progress(i, 1<<62, "milling")
	}
}
