package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/verify"
	"github.com/millhand/millhand/internal/view"
)

// A mill is a namespace with a client, and what it is verified with.
type mill struct {
	server *natstest.Server
	client *millhand.Client
	cfg    verify.Config
	quit   chan struct{} // closed when jobs that wait are to end
}

func newMill(t *testing.T, s *natstest.Server) *mill {
	t.Helper()
	log := natstest.Logger(t.Output())
	c, err := millhand.NewClient(s.Connect(t), millhand.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	nc := s.Connect(t)
	js, err := stream.New(nc, stream.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	store, reg := queue.NewStore(js, queue.Config{Logger: log}), registry.NewStore(js, log)
	return &mill{
		server: s, client: c, quit: make(chan struct{}),
		cfg: verify.Config{Conn: nc, Client: js, Store: store, Registry: reg, View: view.New(view.Config{Client: js, Store: store, Registry: reg})},
	}
}

// hire starts a worker. Jobs whose type is "wait" wait until the test ends, "fail" ones fail, and others
// take a moment.
func (m *mill) hire(t *testing.T, cfg millhand.WorkerConfig, types ...string) {
	t.Helper()
	m.hireOver(t, m.server.Connect(t), cfg, types...)
}

// hireOver starts a worker over a connection.
func (m *mill) hireOver(t *testing.T, nc *nats.Conn, cfg millhand.WorkerConfig, types ...string) {
	t.Helper()
	cfg.Logger, cfg.Mux = natstest.Logger(t.Output()), millhand.NewMux()
	for _, typ := range types {
		cfg.Mux.HandleFunc(typ, func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, m.run(ctx, typ) })
	}
	w, err := millhand.NewWorker(nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		select {
		case <-m.quit:
		default:
			close(m.quit)
		}
		cancel()
		if err := <-ended; err != nil && !nc.IsClosed() {
			t.Errorf("worker: %v", err)
		}
	})
	time.Sleep(2 * time.Second)
}

func (m *mill) run(ctx context.Context, typ string) error {
	switch typ {
	case "wait":
		select {
		case <-m.quit:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case "fail":
		return errors.New("as it should")
	default:
		time.Sleep(30 * time.Millisecond)
		return nil
	}
}

func (m *mill) enqueue(t *testing.T, n int, typ string, opts ...millhand.EnqueueOption) (refs []millhand.Ref) {
	t.Helper()
	batch := make([]millhand.Request, n)
	for i := range batch {
		batch[i] = millhand.Request{Args: millhand.Raw{Name: typ, Payload: []byte(`{"secret":1}`)}, Options: opts}
	}
	refs, err := m.client.EnqueueMany(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

// publish stores a message in a stream, as another program would.
func (m *mill) publish(t *testing.T, subject string, header nats.Header, body any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.cfg.Client.Publish(t.Context(), &nats.Msg{Subject: subject, Header: header, Data: data}); err != nil {
		t.Fatal(err)
	}
}

// say writes an event of a job in the queue "default".
func (m *mill) say(t *testing.T, typ, id string, e queue.Event) {
	t.Helper()
	m.publish(t, "millhand.event.default."+typ+"."+id, nats.Header{"Millhand-Event": {string(e.Kind)}}, e)
}

// put writes a key of the registry.
func (m *mill) put(t *testing.T, key string, value any, ttl time.Duration) {
	t.Helper()
	header := nats.Header{}
	if ttl > 0 {
		header.Set("Nats-TTL", ttl.String())
	}
	m.publish(t, "$KV.millhand-registry."+key, header, value)
}

// pretend has another program say that it is a worker which runs these jobs.
func (m *mill) pretend(t *testing.T, node string, running ...registry.Running) {
	t.Helper()
	m.put(t, "node."+node, registry.Node{Name: node, Types: []string{"wait"}, Queues: []string{"default"}}, time.Hour)
	answer, err := json.Marshal(map[string]any{"node": node, "running": running})
	if err != nil {
		t.Fatal(err)
	}
	nc := m.server.Connect(t)
	if _, err := nc.Subscribe("millhand.control.running", func(msg *nats.Msg) { _ = msg.Respond(answer) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// lifeOf is the life of a job that waits, and its message.
func (m *mill) message(t *testing.T, ref millhand.Ref) *queue.Message {
	t.Helper()
	p, err := job.PlaceOf(ref.Queue, ref.Type, ref.ID)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := m.cfg.Store.Find(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func (m *mill) verify(t *testing.T, o verify.Options) *verify.Report {
	t.Helper()
	r, err := verify.Run(t.Context(), m.cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// violated are the checks that found something.
func violated(r *verify.Report) (ids []string) {
	for _, c := range r.Checks {
		if c.Status == verify.Violated {
			ids = append(ids, c.ID)
		}
	}
	return ids
}
