package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/backup"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

// A mill is a namespace, what backs it up, and what its handlers saw.
type mill struct {
	t      *testing.T
	server *natstest.Server
	client *millhand.Client
	config backup.Config

	mu   sync.Mutex
	runs map[string]int // by job, handlers that returned
}

func inScene(t *testing.T, f func(m *mill)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := &mill{t: t, server: s, runs: make(map[string]int)}
		log := natstest.Logger(t.Output())
		var err error
		if m.client, err = millhand.NewClient(s.Connect(t), millhand.Config{Logger: log}); err != nil {
			t.Fatal(err)
		}
		m.connect(s.Connect(t, nats.Name("tester")))
		f(m)
	})
}

// connect has backups be made over a connection.
func (m *mill) connect(nc *nats.Conn) {
	m.t.Helper()
	log := natstest.Logger(m.t.Output())
	js, err := stream.New(nc, stream.Config{Logger: log})
	if err != nil {
		m.t.Fatal(err)
	}
	m.config = backup.Config{
		Client: js, Store: queue.NewStore(js, queue.Config{Logger: log}), Registry: registry.NewStore(js, log),
		By: "tester", Say: m.t.Logf,
	}
}

// afar has what a backup asks take so long, until it is told otherwise.
func (m *mill) afar(delay time.Duration) *natstest.Link {
	m.t.Helper()
	link := m.server.Link()
	m.connect(link.Connect(m.t))
	link.Slow(delay)
	return link
}

// hire starts a worker and returns what stops it. Jobs of the type "slow" take two seconds, of "again"
// their first attempt fails, of "doomed" all do.
func (m *mill) hire(nc *nats.Conn) (stop func()) {
	m.t.Helper()
	mux := millhand.NewMux()
	for _, typ := range []string{"quick", "slow", "again", "doomed", "tick"} {
		mux.HandleFunc(typ, func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			return nil, m.run(ctx, typ, j)
		})
	}
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{
		Config: millhand.Config{Logger: natstest.Logger(m.t.Output())}, Mux: mux, Concurrency: 6, DrainTimeout: -1,
		Queues: []millhand.Queue{{Name: "default"}, {Name: "low"}},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := w.Run(ctx); err != nil && !errors.Is(err, millhand.ErrDrainTimeout) && !nc.IsClosed() {
			m.t.Errorf("worker: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	m.t.Cleanup(stop)
	time.Sleep(2 * time.Second)
	return stop
}

func (m *mill) run(ctx context.Context, typ string, j *millhand.Job[millhand.Raw]) error {
	takes := 50 * time.Millisecond
	if typ == "slow" {
		takes = 2 * time.Second
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if typ == "doomed" || typ == "again" && j.Attempt == 1 {
		return errors.New("as it should")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name := j.Type + "/" + j.ID
	if !j.Tick.IsZero() {
		name += j.Tick.Format("-15:04:05")
	}
	m.runs[name]++
	return nil
}

// ended are the jobs whose handlers returned, and how often.
func (m *mill) ended() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.runs)
}

func (m *mill) enqueue(typ, id string, opts ...millhand.EnqueueOption) millhand.Ref {
	m.t.Helper()
	ref, err := m.client.Enqueue(m.t.Context(), millhand.Raw{Name: typ, Payload: []byte(`{}`)}, append(opts, millhand.WithID(id))...)
	if err != nil {
		m.t.Fatalf("enqueue %s/%s: %v", typ, id, err)
	}
	return ref
}

func (m *mill) take(o backup.Options) ([]byte, *backup.Manifest) {
	m.t.Helper()
	var file bytes.Buffer
	made, err := backup.Take(m.t.Context(), m.config, o, &file)
	if err != nil {
		m.t.Fatalf("backup: %v", err)
	}
	read, err := backup.Verify(m.t.Context(), bytes.NewReader(file.Bytes()))
	if err != nil {
		m.t.Fatalf("verify: %v", err)
	}
	if len(read.Streams) != len(made.Streams) || read.Quiesced != o.Quiesce {
		m.t.Fatalf("read %+v, wrote %+v", read, made)
	}
	return file.Bytes(), read
}

// lose removes the streams of these kinds, all without any, as a disk that is gone does.
func (m *mill) lose(kinds ...backup.Kind) {
	m.t.Helper()
	streams, err := m.config.Streams(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	for _, s := range streams {
		if len(kinds) > 0 && !slices.Contains(kinds, s.Kind) {
			continue
		}
		if err := m.config.Client.RemoveStream(m.t.Context(), s.Name); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *mill) restore(file []byte, o backup.RestoreOptions, queues ...string) *backup.Result {
	m.t.Helper()
	manifest, err := backup.Verify(m.t.Context(), bytes.NewReader(file))
	if err != nil {
		m.t.Fatal(err)
	}
	plan, err := m.config.Look(m.t.Context(), manifest, queues)
	if err != nil {
		m.t.Fatal(err)
	}
	if len(plan.Workers) > 0 {
		m.t.Fatalf("workers %q run", plan.Workers)
	}
	o.From = "the test"
	r, err := backup.Restore(m.t.Context(), m.config, plan, o, func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(file)), nil
	})
	if err != nil {
		m.t.Fatalf("restore: %v", err)
	}
	return r
}

// ends are the lives that the events tell an end of, and how many ends.
func (m *mill) ends() map[string]int {
	m.t.Helper()
	info, err := m.config.Client.Info(m.t.Context(), m.config.Store.AllEvents().Stream)
	if err != nil {
		m.t.Fatal(err)
	}
	all := make(map[string]int)
	for msg, err := range m.config.Client.Scan(m.t.Context(), m.config.Store.AllEvents().Stream, stream.Scan{Subject: ">", UpTo: info.State.LastSeq}) {
		if err != nil {
			m.t.Fatal(err)
		}
		if e, ok := m.config.Store.ReadEvent(msg); ok && e.Kind.Final() {
			all[fmt.Sprintf("%s/%s %s", e.Type, e.ID, e.Life)]++
		}
	}
	return all
}

// checkEnded wants each of these jobs to have exactly one end.
func (m *mill) checkEnded(refs []millhand.Ref) {
	m.t.Helper()
	ends := m.ends()
	for _, r := range refs {
		if n := ends[fmt.Sprintf("%s/%s %s", r.Type, r.ID, r.Life)]; n != 1 {
			m.t.Errorf("%s/%s has %d ends", r.Type, r.ID, n)
		}
	}
	for life, n := range ends {
		if n != 1 {
			m.t.Errorf("%s has %d ends", life, n)
		}
	}
}

func (m *mill) resume(queues ...string) {
	m.t.Helper()
	for _, q := range queues {
		if err := m.config.Registry.Resume(m.t.Context(), q); err != nil {
			m.t.Fatal(err)
		}
	}
}

// keysOf are the keys of the registry that begin so.
func (m *mill) keysOf(prefix string) (keys []string) {
	m.t.Helper()
	entries, _, err := m.config.Registry.Bucket().Read(m.t.Context(), ">")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Key, prefix) && e.Value != nil {
			keys = append(keys, e.Key)
		}
	}
	return keys
}
