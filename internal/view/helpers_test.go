package view_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/view"
)

// A mill is a namespace with a client, and with a view over a connection of its own whose requests
// are counted.
type mill struct {
	server *natstest.Server
	client *millhand.Client
	store  *queue.Store
	js     *stream.Client
	view   *view.View
	looker *problem.Looker
	asked  *requests
	link   *natstest.Link
	quit   chan struct{} // closed when jobs that wait are to end
}

func newMill(t *testing.T, s *natstest.Server) *mill {
	t.Helper()
	log := natstest.Logger(t.Output())
	c, err := millhand.NewClient(s.Connect(t), millhand.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	m := &mill{server: s, client: c, link: s.Link(), asked: &requests{bySubject: make(map[string]int)}, quit: make(chan struct{})}
	m.link.Watch(m.asked.note)
	m.js, err = stream.New(m.link.Connect(t), stream.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	m.store = queue.NewStore(m.js, queue.Config{Logger: log})
	m.view = view.New(view.Config{Client: m.js, Store: m.store, Registry: registry.NewStore(m.js, log)})
	m.looker = problem.NewLooker(m.js, m.view, stats.NewStore(m.js, log), nil)
	return m
}

// enqueue enqueues n jobs of a type.
func (m *mill) enqueue(t *testing.T, n int, typ string, opts ...millhand.EnqueueOption) (refs []millhand.Ref) {
	t.Helper()
	batch := make([]millhand.Request, n)
	for i := range batch {
		batch[i] = millhand.Request{Args: millhand.Raw{Name: typ, Payload: []byte(`{}`)}, Options: opts}
	}
	refs, err := m.client.EnqueueMany(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

// hire starts a worker whose jobs do what run says.
func (m *mill) hire(t *testing.T, cfg millhand.WorkerConfig, run func(ctx context.Context) error, types ...string) {
	t.Helper()
	of := make(map[string]func(context.Context) error)
	for _, typ := range types {
		of[typ] = run
	}
	m.hireEach(t, cfg, of)
}

// hireEach starts a worker whose jobs do what is said of their type.
func (m *mill) hireEach(t *testing.T, cfg millhand.WorkerConfig, of map[string]func(context.Context) error) {
	t.Helper()
	cfg.Logger, cfg.Mux = natstest.Logger(t.Output()), millhand.NewMux()
	for typ, run := range of {
		cfg.Mux.HandleFunc(typ, func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, run(ctx) })
	}
	w, err := millhand.NewWorker(m.server.Connect(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		m.release()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
}

// wait runs until the test ends, or its job is cancelled.
func (m *mill) wait(ctx context.Context) error {
	select {
	case <-m.quit:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release ends the jobs that wait.
func (m *mill) release() {
	select {
	case <-m.quit:
	default:
		close(m.quit)
	}
}

func (m *mill) snapshot(t *testing.T) *view.Snapshot {
	t.Helper()
	s, err := m.view.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, missing := range s.Missing {
		t.Errorf("missing: %s: %v", missing.What, missing.Err)
	}
	return s
}

// requests counts what the view publishes, by subject.
type requests struct {
	mu        sync.Mutex
	bySubject map[string]int
	lost      []string // subjects of those that nobody gets
}

func (r *requests) note(subject string) natstest.Fate {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bySubject[subject]++
	if slices.Contains(r.lost, subject) {
		return natstest.Lost
	}
	return natstest.Pass
}

// during returns how many requests of each kind f led to.
func (r *requests) during(f func()) map[string]int {
	synctest.Wait()
	r.mu.Lock()
	clear(r.bySubject)
	r.mu.Unlock()
	f()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.bySubject)
}

// total returns how many requests there were of subjects with a prefix.
func total(asked map[string]int, prefix string) (n int) {
	for subject, times := range asked {
		if strings.HasPrefix(subject, prefix) {
			n += times
		}
	}
	return n
}
