package millhand_test

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// A worker with many types, each with a limit, starts within seconds though the broker is 40 ms
// away, and runs their jobs.
func TestStartWithManyLimitsOfABrokerFarAway(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		const types = 200
		m := newMill(t, s)
		cfg := millhand.WorkerConfig{Mux: millhand.NewMux(), Concurrency: 250}
		var names []string
		for i := range types {
			name := "t" + strconv.Itoa(i)
			names = append(names, name)
			cfg.Quotas = append(cfg.Quotas, millhand.Quota{Type: name, Limit: 5}, millhand.Quota{Key: "k" + strconv.Itoa(i%50), Types: []string{name}, Limit: 50})
		}
		m.handle(cfg.Mux, 0, 100*time.Millisecond, names...)
		link := s.Link()
		link.Far(40 * time.Millisecond)
		began := time.Now()
		w, _ := start(t, link.Connect(t), cfg)
		for w.Health().State == "starting" {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("started after %v", took)
		}
		m.enqueue(t, 3, "t7")
		m.enqueue(t, 3, "t199")
		time.Sleep(10 * time.Second)
		for _, name := range []string{"t7", "t199"} {
			if got := len(m.started(name)); got != 3 {
				t.Errorf("%d of 3 jobs of %s started", got, name)
			}
		}
		if h := w.Health(); h.WaitsFor != "" || len(h.Registry) > 0 || h.State != "working" {
			t.Errorf("health %+v", h)
		}
	})
}

// A start that waits says for what, in the log and in its health.
func TestStartSaysWhatItWaitsFor(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.set(t, millhand.Quota{Type: "import", Limit: 2})
		m.enqueue(t, 3, "import")
		var log lines
		cfg := millhand.WorkerConfig{Config: millhand.Config{Logger: log.logger()}, Mux: millhand.NewMux()}
		m.handle(cfg.Mux, 0, time.Millisecond, "import")
		link := s.Link()
		link.Watch(func(subject string) natstest.Fate {
			if registryRequest(subject) {
				return natstest.Lost
			}
			return natstest.Pass
		})
		w, _ := start(t, link.Connect(t), cfg)
		time.Sleep(time.Minute)
		h := w.Health()
		if h.State != "starting" || !strings.Contains(h.WaitsFor, "registry") || len(h.Registry) != 1 {
			t.Errorf("health %+v", h)
		}
		if n := log.count(`msg="still starting" `); n < 5 || n > 12 {
			t.Errorf("it was told %d times in a minute that the start waits", n)
		}
		if n := log.count("limits and pauses cannot be read"); n < 4 || n > 7 {
			t.Errorf("it was told %d times in a minute that the registry cannot be read", n)
		}
		link.Watch(nil)
		time.Sleep(15 * time.Second)
		if h := w.Health(); h.State != "working" || h.WaitsFor != "" || len(h.Registry) > 0 {
			t.Errorf("health once the registry answers: %+v", h)
		}
		if got := len(m.started("import")); got != 3 {
			t.Errorf("%d of 3 jobs started", got)
		}
	})
}

// Neither presence nor permits that cannot be written keep a worker from starting, nor from
// jobs without a limit; those with one wait.
func TestStartWithoutPresence(t *testing.T) {
	for name, tt := range map[string]struct {
		lost    string
		imports int
		trouble string
	}{
		"presence": {"$KV.millhand-registry.node.", 3, "presence cannot be written"},
		"permits":  {"$KV.millhand-registry.grant.", 0, "permits cannot be renewed"},
		"all":      {"$KV.millhand-registry.", 0, "presence cannot be written"},
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				m := newMill(t, s)
				m.set(t, millhand.Quota{Type: "import", Limit: 2})
				var log lines
				cfg := millhand.WorkerConfig{Config: millhand.Config{Logger: log.logger()}, Mux: millhand.NewMux()}
				m.handle(cfg.Mux, 0, time.Millisecond, "import", "email")
				link := s.Link()
				link.Watch(func(subject string) natstest.Fate {
					if strings.HasPrefix(subject, tt.lost) {
						return natstest.Lost
					}
					return natstest.Pass
				})
				m.enqueue(t, 3, "import")
				m.enqueue(t, 3, "email")
				w, _ := start(t, link.Connect(t), cfg)
				time.Sleep(time.Minute)
				if got := len(m.started("email")); got != 3 {
					t.Errorf("%d of 3 jobs without a limit started", got)
				}
				if got := len(m.started("import")); got != tt.imports {
					t.Errorf("%d jobs with a limit started, want %d", got, tt.imports)
				}
				h := w.Health()
				if h.State != "working" || len(h.Registry) == 0 || !strings.Contains(strings.Join(h.Registry, "\n"), tt.trouble) {
					t.Errorf("health %+v", h)
				}
				if n := log.count(tt.trouble); n < 4 || n > 7 {
					t.Errorf("told %d times in a minute that %s", n, tt.trouble)
				}
				link.Watch(nil)
				time.Sleep(15 * time.Second)
				if got := len(m.started("import")); got != 3 {
					t.Errorf("%d of 3 jobs with a limit started in the end", got)
				}
				if h := w.Health(); len(h.Registry) > 0 {
					t.Errorf("troubles that are over: %q", h.Registry)
				}
			})
		})
	}
}
