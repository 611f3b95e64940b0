package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
)

// serve runs a nats-server of a configuration, in which %s is a directory of its own.
func serve(t *testing.T, config string) *server.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	config = "listen: 127.0.0.1:-1\n" + strings.ReplaceAll(config, "%s", t.TempDir())
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoLog, opts.NoSigs = true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("server not ready")
	}
	return srv
}

func dial(t *testing.T, srv *server.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// account is a server whose one account has a block of its own.
func account(jetstream string) string {
	return `jetstream: {store_dir: "%s"}
accounts: {A: {jetstream: ` + jetstream + `, users: [{user: a, password: a}]}}
no_auth_user: a`
}

// Servers, accounts and topologies that people have: jobs run, retries and quotas included.
func TestWhereJobsRun(t *testing.T) { //nolint:tparallel // those with a bubble do not run beside others
	for name, tt := range map[string]struct {
		config string
		cfg    millhand.Config
	}{
		"an account of few consumers":              {config: account(`{max_consumers: 100, max_streams: 10}`)},
		"an account of just enough streams":        {config: account(`{max_streams: 4}`)},
		"an account that demands a limit of bytes": {config: account(`{max_bytes: true, max_store: 1GB, disk_max_stream_bytes: 100MB}`), cfg: millhand.Config{MaxBytes: 50 << 20}},
		"an account that holds few jobs at once":   {config: account(`{max_ack_pending: 1000}`)},
		"a server of a short duplicate window":     {config: `jetstream: {store_dir: "%s", limits: {duplicate_window: "10s", max_ack_pending: 500}}`},
		"a cluster of one":                         {config: "server_name: only\njetstream: {store_dir: \"%s\"}\ncluster: {name: one}"},
		"a domain":                                 {config: `jetstream: {store_dir: "%s", domain: hub}`, cfg: millhand.Config{Domain: "hub"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runOne(t, dial(t, serve(t, tt.config)), tt.cfg)
		})
	}
}

// A leaf node with a store of its own, and one without that uses its hub's.
func TestLeafNodes(t *testing.T) {
	leaf := func(hub *server.Server, jetstream string) string {
		v, err := hub.Varz(nil)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("server_name: leaf\n%s\nleafnodes: {remotes: [{url: \"nats://127.0.0.1:%d\"}]}", jetstream, v.LeafNode.Port)
	}
	hub := func(t *testing.T) *server.Server {
		t.Helper()
		return serve(t, "server_name: hub\njetstream: {store_dir: \"%s\", domain: hub}\nleafnodes: {listen: 127.0.0.1:-1}")
	}
	t.Run("its own streams", func(t *testing.T) {
		runOne(t, dial(t, serve(t, leaf(hub(t), `jetstream: {store_dir: "%s", domain: leaf}`))), millhand.Config{})
	})
	t.Run("the hub's, by their domain", func(t *testing.T) {
		runOne(t, dial(t, serve(t, leaf(hub(t), `jetstream: {store_dir: "%s", domain: leaf}`))), millhand.Config{Domain: "hub"})
	})
	t.Run("the hub's, without streams of its own", func(t *testing.T) {
		runOne(t, dial(t, serve(t, leaf(hub(t), ``))), millhand.Config{Domain: "hub"})
	})
}

// runOne has a job fail once, succeed then under a quota, and be known afterwards.
func runOne(t *testing.T, nc *nats.Conn, cfg millhand.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cfg.Logger = testLog(t)
	c, err := millhand.NewClient(nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := c.Enqueue(ctx, email{})
	if err != nil {
		t.Fatal(err)
	}
	mux := muxOf(func(_ context.Context, j *millhand.Job[email]) error {
		if j.Attempt == 1 {
			return millhand.RetryAfter(300*time.Millisecond, errors.New("boom"))
		}
		return nil
	})
	_, stop := start(t, nc, millhand.WorkerConfig{Config: cfg, Mux: mux, Quotas: []millhand.Quota{{Type: "email", Limit: 1}}})
	info, err := c.Await(ctx, ref)
	if err != nil || info.Attempt != 2 {
		t.Errorf("the job ended at attempt %d: %v", info.Attempt, err)
	}
	for e, err := range c.Events(ctx, time.Now().Add(-time.Minute)) {
		if err != nil {
			t.Error(err)
		}
		if e.Kind == "succeeded" {
			break
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// Servers and accounts where no job can run: one line says what to change.
func TestWhereJobsCannotRun(t *testing.T) { //nolint:tparallel // as above
	for name, tt := range map[string]struct {
		config string
		cfg    millhand.Config
		want   []string // in the error of an enqueue, and of a worker or its log
	}{
		"JetStream is off":              {config: "", want: []string{"JetStream is not enabled", "-js"}},
		"JetStream is off for us":       {config: "jetstream: {store_dir: \"%s\"}\naccounts: {A: {users: [{user: a, password: a}]}}\nno_auth_user: a", want: []string{"JetStream is not enabled for this account"}},
		"a limit of bytes is demanded":  {config: account(`{max_bytes: true, max_store: 1GB}`), want: []string{"limit of bytes", "--max-bytes"}},
		"no room for the streams":       {config: account(`{max_streams: 2}`), want: []string{"max_streams"}},
		"a limit over what is there":    {config: account(`{max_store: 1GB}`), cfg: millhand.Config{MaxBytes: 10 << 30}, want: []string{"lower --max-bytes"}},
		"no permission to make streams": {config: "jetstream: {store_dir: \"%s\"}\nauthorization: {users: [{user: a, password: a, permissions: {publish: {deny: \"$JS.API.STREAM.CREATE.>\"}}}]}\nno_auth_user: a", want: []string{"no permission to publish to", "$js.api.stream.create"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := dial(t, serve(t, tt.config))
			var log logged
			cfg := tt.cfg
			cfg.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(&log, t.Output()), nil))
			c, err := millhand.NewClient(nc, cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Enqueue(context.Background(), email{})
			expectWords(t, "enqueue", fmt.Sprint(err), tt.want)
			w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Config: cfg, Mux: muxOf(func(context.Context, *millhand.Job[email]) error { return nil })})
			if err != nil {
				t.Fatal(err)
			}
			log.reset()
			ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
			defer cancel()
			err = w.Run(ctx)
			expectWords(t, "worker", fmt.Sprint(err)+log.String(), tt.want)
		})
	}
}

func expectWords(t *testing.T, who, got string, want []string) {
	t.Helper()
	for _, word := range want {
		if !strings.Contains(strings.ToLower(got), strings.ToLower(word)) {
			t.Errorf("%s: %q says nothing of %q", who, got, word)
		}
	}
}

// logged is what was logged.
type logged struct {
	started chan struct{} // gets a value when a worker says that it has; nil: none

	mu  sync.Mutex
	buf strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.Contains(string(p), "worker started") && l.started != nil {
		l.started <- struct{}{}
	}
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

// What a worker says at its start of a server that is too small.
func TestSmallPayloadsAreTold(t *testing.T) {
	for limit, want := range map[string]string{"64KB": "little room", "100KB": "little room", "1MB": ""} {
		t.Run(limit, func(t *testing.T) {
			nc := dial(t, serve(t, "max_payload: "+limit+"\njetstream: {store_dir: \"%s\"}"))
			log := logged{started: make(chan struct{}, 1)}
			cfg := millhand.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
			_, stop := start(t, nc, millhand.WorkerConfig{Config: cfg, Mux: muxOf(func(context.Context, *millhand.Job[email]) error { return nil })})
			<-log.started
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if got := log.String(); want == "" && strings.Contains(got, "max_payload") {
				t.Errorf("a worker says %q", got)
			} else if !strings.Contains(got, want) {
				t.Errorf("a worker says nothing of %q: %q", want, got)
			}
		})
	}
}

// Two namespaces can want one stream: whoever comes second is told.
func TestNamespacesThatShareAStream(t *testing.T) {
	type use struct{ namespace, queue string }
	for _, uses := range [][2]use{
		{{"app", "events"}, {"app-queue", "default"}},
		{{"app-queue", "default"}, {"app", "events"}},
		{{"app", "queue-x"}, {"app-queue", "x"}},
	} {
		t.Run(uses[0].namespace+" first with "+uses[0].queue, func(t *testing.T) {
			nc := dial(t, serve(t, `jetstream: {store_dir: "%s"}`))
			var err error
			for i, u := range uses {
				c, e := millhand.NewClient(nc, millhand.Config{Namespace: u.namespace, Logger: testLog(t)})
				if e != nil {
					t.Fatal(e)
				}
				_, err = c.Enqueue(context.Background(), email{}, millhand.WithQueue(u.queue))
				if i == 0 && err != nil {
					t.Fatal(err)
				}
			}
			expectWords(t, "the second", fmt.Sprint(err), []string{"choose another namespace", "stores "})
		})
	}
}
