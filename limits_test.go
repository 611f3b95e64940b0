package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// mill is workers whose handlers are watched from outside.
type mill struct {
	server *natstest.Server
	client *millhand.Client

	mu      sync.Mutex
	running map[string]int // by type
	by      map[int]int    // jobs of any type, by worker
	most    map[string]int
	busy    map[string]time.Duration // running jobs × time
	busyBy  map[int]time.Duration    // the same by worker
	since   time.Time                // when these were brought up to date
	starts  map[string][]time.Time
}

// measured leaves a test out of a short run that is about how many jobs run at once: other tests run the same code, with
// fewer jobs.
func measured(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("measures what many jobs use of a quota")
	}
}

func newMill(t *testing.T, s *natstest.Server) *mill {
	t.Helper()
	return &mill{
		server: s, client: client(t, s.Connect(t)), since: time.Now(),
		running: make(map[string]int), by: make(map[int]int), most: make(map[string]int),
		busy: make(map[string]time.Duration), busyBy: make(map[int]time.Duration), starts: make(map[string][]time.Time),
	}
}

func (m *mill) change(typ string, worker, by int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.account()
	m.running[typ] += by
	m.by[worker] += by
	m.most[typ] = max(m.most[typ], m.running[typ])
	if by > 0 {
		m.starts[typ] = append(m.starts[typ], time.Now())
	}
}

func (m *mill) account() {
	now := time.Now()
	for typ, n := range m.running {
		m.busy[typ] += time.Duration(n) * now.Sub(m.since)
	}
	for worker, n := range m.by {
		m.busyBy[worker] += time.Duration(n) * now.Sub(m.since)
	}
	m.since = now
}

// use returns how many jobs of a type ran at once over the next while, on average.
func (m *mill) use(typ string, while time.Duration) float64 {
	return m.average(while, func() time.Duration { return m.busy[typ] })
}

// useOf is use for a worker.
func (m *mill) useOf(worker int, while time.Duration) float64 {
	return m.average(while, func() time.Duration { return m.busyBy[worker] })
}

func (m *mill) average(while time.Duration, busy func() time.Duration) float64 {
	read := func() time.Duration {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.account()
		return busy()
	}
	before := read()
	time.Sleep(while)
	return float64(read()-before) / float64(while)
}

func (m *mill) now(typ string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running[typ]
}

// started returns when jobs of a type started.
func (m *mill) started(typ string) []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.starts[typ])
}

func (m *mill) of(worker int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by[worker]
}

// hire starts a worker whose jobs take so long each, over a link of its own.
func (m *mill) hire(t *testing.T, worker int, each time.Duration, cfg millhand.WorkerConfig, types ...string) *natstest.Link {
	t.Helper()
	cfg.Mux = millhand.NewMux()
	m.handle(cfg.Mux, worker, each, types...)
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 30
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = -1
	}
	link := m.server.Link()
	_, stop := start(t, link.Connect(t), cfg)
	t.Cleanup(func() {
		link.Up()
		if err := stop(); err != nil && !errors.Is(err, millhand.ErrDrainTimeout) {
			t.Errorf("worker %d: %v", worker, err)
		}
	})
	return link
}

// handle has jobs of types take so long each.
func (m *mill) handle(mux *millhand.Mux, worker int, each time.Duration, types ...string) {
	for _, typ := range types {
		mux.HandleFunc(typ, func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) {
			m.change(typ, worker, 1)
			defer m.change(typ, worker, -1)
			select {
			case <-time.After(each):
				return nil, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		})
	}
}

func (m *mill) enqueue(t *testing.T, n int, typ string, opts ...millhand.EnqueueOption) {
	t.Helper()
	batch := make([]millhand.Request, n)
	for i := range batch {
		batch[i] = millhand.Request{Args: millhand.Raw{Name: typ}, Options: opts}
	}
	if _, err := m.client.EnqueueMany(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

func (m *mill) set(t *testing.T, q millhand.Quota) {
	t.Helper()
	if err := m.client.SetQuota(t.Context(), q); err != nil {
		t.Fatal(err)
	}
}

// wantMost wants no more than a limit to have run at once, ever.
func (m *mill) wantMost(t *testing.T, typ string, limit int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.most[typ] > limit {
		t.Errorf("%d jobs of type %s ran at once, the limit is %d", m.most[typ], typ, limit)
	}
}

// With enough to do all permits are in use, on one worker or on eight, and no more than that.
func TestQuotaIsUsed(t *testing.T) {
	for _, workers := range []int{1, 8} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				const limit = 20
				m := newMill(t, s)
				m.set(t, millhand.Quota{Type: "import", Limit: limit})
				m.enqueue(t, 5000, "import")
				m.enqueue(t, 1000, "email")
				for i := range workers {
					m.hire(t, i, 50*time.Millisecond, millhand.WorkerConfig{Concurrency: 60}, "import", "email")
				}
				time.Sleep(time.Second)
				if use := m.use("import", 5*time.Second); use < 0.95*limit {
					t.Errorf("%.2f of %d permits are used", use, limit)
				}
				m.wantMost(t, "import", limit)
				if m.now("email") != 0 || len(m.started("email")) != 1000 {
					t.Errorf("%d of 1000 jobs without a quota have run", len(m.started("email")))
				}
			})
		})
	}
}

// A worker that joins has its share within two seconds; the permits of one that vanishes
// are the others' when its grant has expired.
func TestQuotaIsShared(t *testing.T) {
	measured(t)
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		const limit = 12
		m := newMill(t, s)
		m.set(t, millhand.Quota{Type: "import", Limit: limit})
		m.enqueue(t, 8000, "import") // more than run within the test, as elsewhere
		m.hire(t, 0, 50*time.Millisecond, millhand.WorkerConfig{}, "import")
		m.hire(t, 1, 50*time.Millisecond, millhand.WorkerConfig{}, "import")
		time.Sleep(3 * time.Second)
		third := m.hire(t, 2, 50*time.Millisecond, millhand.WorkerConfig{}, "import")
		time.Sleep(2 * time.Second)
		if n := m.useOf(2, time.Second); n < 0.95*limit/3 || n > limit/3 {
			t.Errorf("the third worker runs %.2f of %d", n, limit)
		}
		third.Down()
		third.Cut()
		time.Sleep(11 * time.Second)
		if use := m.use("import", time.Second); use < 0.95*limit {
			t.Errorf("%.2f of %d permits are used after a worker vanished", use, limit)
		}
		if m.of(2) != 0 {
			t.Error("a worker without a connection still runs jobs of a quota")
		}
		m.wantMost(t, "import", limit)
	})
}

// A limit goes up and down while jobs run, and holds within a second.
func TestQuotaChanges(t *testing.T) {
	measured(t)
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.enqueue(t, 18_000, "import")
		for i := range 3 {
			m.hire(t, i, 50*time.Millisecond, millhand.WorkerConfig{}, "import")
		}
		for _, limit := range []int{50, 5, 30, 1} {
			m.set(t, millhand.Quota{Type: "import", Limit: limit})
			time.Sleep(time.Second)
			m.mu.Lock()
			m.most["import"] = 0
			m.mu.Unlock()
			while := 3 * time.Second
			if limit < 3 {
				while = 15 * time.Second // the permit changes hands once, which takes a moment
			}
			if use := m.use("import", while); use < 0.95*float64(limit) {
				t.Errorf("%.2f of %d permits are used", use, limit)
			}
			m.wantMost(t, "import", limit)
		}
		m.set(t, millhand.Quota{Type: "import", Limit: 0})
		time.Sleep(time.Second)
		if use := m.use("import", time.Second); use < 85 {
			t.Errorf("%.2f of 90 slots are used without a limit", use)
		}
	})
}

// Types share the limit of a key, and queues have one of their own.
func TestQuotaOfKeysAndQueues(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.set(t, millhand.Quota{Key: "crm-api", Types: []string{"sync", "push"}, Limit: 10})
		m.set(t, millhand.Quota{Queue: "low", Limit: 2})
		m.enqueue(t, 2000, "sync")
		m.enqueue(t, 2000, "push")
		m.enqueue(t, 500, "email", millhand.WithQueue("low"))
		for i := range 3 {
			m.hire(t, i, 50*time.Millisecond, millhand.WorkerConfig{Queues: []millhand.Queue{{Name: "default"}, {Name: "low"}}}, "sync", "push", "email")
		}
		time.Sleep(4 * time.Second) // until each worker has heard where jobs wait, with two permits for nine types
		synced, pushed, mailed := 0.0, 0.0, 0.0
		var wg sync.WaitGroup
		wg.Go(func() { synced = m.use("sync", 5*time.Second) })
		wg.Go(func() { pushed = m.use("push", 5*time.Second) })
		wg.Go(func() { mailed = m.use("email", 5*time.Second) })
		wg.Wait()
		if synced+pushed < 9.5 || synced+pushed > 10 {
			t.Errorf("%.2f jobs of sync and %.2f of push, which share a limit of 10", synced, pushed)
		}
		if min(synced, pushed) < 3 {
			t.Errorf("%.2f jobs of sync and %.2f of push: no fair shares", synced, pushed)
		}
		if mailed < 1.9 || mailed > 2 {
			t.Errorf("%.2f jobs of a queue with a limit of 2", mailed)
		}
	})
}

// In no period of its length do more jobs start than a rate allows, and with enough to do
// about as many do.
func TestRate(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				const limit, period, periods = 40, 10 * time.Second, 12
				m := newMill(t, s)
				m.set(t, millhand.Quota{Type: "email", Limit: limit, Per: period})
				m.enqueue(t, 1000, "email")
				for i := range workers {
					m.hire(t, i, time.Millisecond, millhand.WorkerConfig{}, "email")
				}
				time.Sleep(periods * period)
				m.mu.Lock()
				starts := slices.Clone(m.starts["email"])
				m.mu.Unlock()
				wantRate(t, starts, limit, period)
				if n := len(starts); n < limit*periods*9/10 {
					t.Errorf("%d jobs started in %d periods, want nearly %d", n, periods, limit*periods)
				}
			})
		})
	}
}

func wantRate(t *testing.T, starts []time.Time, limit int, period time.Duration) {
	t.Helper()
	for i := range starts[min(limit, len(starts)):] {
		if d := starts[i+limit].Sub(starts[i]); d < period {
			t.Fatalf("%d jobs started within %v; the rate is %d per %v", limit+1, d, limit, period)
		}
	}
}

// While the registry does not answer, a worker has what it has until that expires. Then it
// runs no more of the types with a quota, and all others; it heals by itself.
func TestRegistryIsSilent(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.set(t, millhand.Quota{Type: "import", Limit: 5})
		m.enqueue(t, 5000, "import")
		m.enqueue(t, 13_000, "email")
		link := m.hire(t, 0, 50*time.Millisecond, millhand.WorkerConfig{}, "import", "email")
		time.Sleep(2 * time.Second)
		link.Watch(func(subject string) natstest.Fate {
			if registryRequest(subject) {
				return natstest.Lost
			}
			return natstest.Pass
		})
		if use := m.use("import", 4*time.Second); use < 4.75 {
			t.Errorf("%.2f of 5 permits are used just after the registry fell silent", use)
		}
		time.Sleep(4 * time.Second)
		if n := m.use("import", 4*time.Second); n != 0 {
			t.Errorf("%.2f jobs of a quota run although nobody confirmed it for so long", n)
		}
		if use := m.use("email", time.Second); use < 20 {
			t.Errorf("%.2f jobs without a quota run while the registry is silent", use)
		}
		link.Watch(nil)
		time.Sleep(5 * time.Second)
		if use := m.use("import", 2*time.Second); use < 4.75 {
			t.Errorf("%.2f of 5 permits are used once the registry answers again", use)
		}
		m.wantMost(t, "import", 5)
	})
}

// registryRequest reports whether a client asks something of the registry.
func registryRequest(subject string) bool {
	return strings.HasPrefix(subject, "$KV.") || strings.Contains(subject, ".KV_")
}

// A paused queue rests, everywhere and within a second, until it is resumed; what runs ends.
func TestPause(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.enqueue(t, 20_000, "import")
		m.enqueue(t, 6000, "import", millhand.WithQueue("low"))
		queues := []millhand.Queue{{Name: "default"}, {Name: "low"}}
		m.hire(t, 0, 50*time.Millisecond, millhand.WorkerConfig{Queues: queues}, "import")
		m.hire(t, 1, 50*time.Millisecond, millhand.WorkerConfig{Queues: []millhand.Queue{{Name: "low"}}}, "import")
		time.Sleep(time.Second)
		if err := m.client.Pause(t.Context(), "low"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond)
		if n := m.of(1); n != 0 {
			t.Errorf("%d jobs of a paused queue run", n)
		}
		if n := m.use("import", time.Second); n < 28 {
			t.Errorf("%.2f jobs of the other queue run, want all 30 slots in use", n)
		}
		m.hire(t, 2, 50*time.Millisecond, millhand.WorkerConfig{Queues: []millhand.Queue{{Name: "low"}}}, "import")
		time.Sleep(time.Second)
		if n := m.of(2); n != 0 {
			t.Errorf("a worker that came later runs %d jobs of a paused queue", n)
		}
		if err := m.client.Resume(t.Context(), "low"); err != nil {
			t.Fatal(err)
		}
		if n := m.useOf(1, time.Second); n < 28 {
			t.Errorf("%.2f jobs run after the pause, want all 30 slots in use", n)
		}
	})
}
