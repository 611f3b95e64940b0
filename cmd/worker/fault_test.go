package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/supervisor"
)

var errInjected = errors.New("killed by the test")

// Whatever part of the process fails under load, it comes back after its backoff, no other part is restarted, every
// job ends once and no handler runs twice: an outage of the broker that is shorter than the lease interrupts nobody.
//
// The parts are those of the tree, so a new one is in the test, but for those whose end is the process's. This is in real time, as a broker's sockets are, so the backoff is what the log says of it.
func TestEveryPartOfTheProcessHealsUnderLoad(t *testing.T) {
	t.Parallel()
	names := func() (names []string) {
		p := startLoaded(t, 1)
		defer p.end(t)
		for _, c := range p.process.parts() {
			if !c.Significant {
				names = append(names, c.Name)
			}
		}
		return names
	}()
	if len(names) < 2 {
		t.Fatalf("parts = %q, want the broker and the health checks at least", names)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const jobs, kills = 400, 2
			p := startLoaded(t, jobs)
			for n := range kills {
				until(t, "jobs run", func() bool { return p.done() >= (n+1)*jobs/(kills+2) })
				p.kill(t, name)
				until(t, "it is back", func() bool {
					part := p.part(t, name)
					return part.Restarts == n+1 && part.State == supervisor.StateRunning
				})
			}
			p.expectHandledOnce(t, jobs)
			for _, n := range p.process.tree.Tree().Children {
				if want := map[bool]int{true: kills}[n.Name == name]; n.Restarts != want || n.State != supervisor.StateRunning {
					t.Errorf("%s = %+v, want it running after %d restarts", n.Name, n, want)
				}
			}
			for restart, most := range []time.Duration{time.Second, 2 * time.Second} { // the process's backoff
				line := p.log.find("child restarting", "supervisor=process", "child="+name, fmt.Sprintf("restarts=%d ", restart+1))
				_, delay, _ := strings.Cut(line, "delay=")
				if d, err := time.ParseDuration(strings.TrimSpace(delay)); err != nil || d > most {
					t.Errorf("log line %q: want a delay of at most %v", line, most)
				}
			}
			if status := fetch(t, p.web, &millhand.Health{}); status != http.StatusOK {
				t.Errorf("/healthz = %d", status)
			}
			p.end(t)
		})
	}
}

// Nothing heals a connection that somebody closed: the process ends, and says why.
func TestClosedConnectionEndsTheProcess(t *testing.T) {
	t.Parallel()
	p := startLoaded(t, 1)
	p.process.conn.Close()
	if err := <-p.ended; !errors.Is(err, errConnectionClosed) {
		t.Errorf("run = %v, want %v", err, errConnectionClosed)
	}
}

// loaded is the whole of a worker's process, with jobs to do.
type loaded struct {
	process *process
	log     *logBuffer
	web     string
	stop    context.CancelFunc
	ended   chan error

	mu    sync.Mutex
	runs  map[string]int                     // of each job's handler
	kills map[string]context.CancelCauseFunc // of the parts' current runs
}

func startLoaded(t *testing.T, jobs int) *loaded {
	t.Helper()
	p := &loaded{
		log: &logBuffer{}, ended: make(chan error, 1), runs: make(map[string]int), kills: make(map[string]context.CancelCauseFunc),
	}
	log := slog.New(slog.NewTextHandler(p.log, nil))
	mux := millhand.NewMux()
	mux.HandleFunc("work", p.handle)
	p.process = &process{
		log: log, store: t.TempDir(), listen: "127.0.0.1:0", http: "127.0.0.1:0", httpGiven: true, instrument: p.instrument,
		config: millhand.WorkerConfig{Config: millhand.Config{Logger: log}, Mux: mux, Concurrency: 4, AckWait: 9 * time.Second},
	}
	p.process.connect = p.process.connectOwn
	ctx, cancel := context.WithCancel(t.Context())
	p.stop = cancel
	go func() { p.ended <- p.process.run(ctx) }()
	until(t, "the worker starts", func() bool { return p.log.find("worker started") != "" })
	_, url, _ := strings.Cut(p.log.find("serving health checks"), "url=")
	p.web = strings.TrimSpace(url) + "/healthz"
	c := connectTestClient(t, p.process.broker.Load().ClientURL())
	batch := make([]millhand.Request, jobs)
	for i := range batch {
		batch[i] = millhand.Request{Args: millhand.Raw{Name: "work"}}
	}
	if _, err := c.EnqueueMany(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *loaded) handle(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	p.mu.Lock()
	p.runs[j.ID]++
	p.mu.Unlock()
	timer := time.NewTimer(10 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *loaded) done() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.runs)
}

// instrument makes a part end as if it had failed by itself.
func (p *loaded) instrument(c supervisor.Child) supervisor.Child {
	run := c.RunReady
	if run == nil {
		plain := c.Run
		run = func(ctx context.Context, ready func()) error { ready(); return plain(ctx) }
	}
	c.Run = nil
	c.RunReady = func(ctx context.Context, ready func()) error {
		ctx, kill := context.WithCancelCause(ctx)
		defer kill(nil)
		p.mu.Lock()
		p.kills[c.Name] = kill
		p.mu.Unlock()
		err := run(ctx, ready)
		if errors.Is(context.Cause(ctx), errInjected) {
			return errInjected
		}
		return err
	}
	return c
}

func (p *loaded) part(t *testing.T, name string) supervisor.Node {
	t.Helper()
	for _, n := range p.process.tree.Tree().Children {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("no part %q", name)
	return supervisor.Node{}
}

// kill makes a part fail. The end of its context is the broker's last one, so its server is ended.
func (p *loaded) kill(t *testing.T, name string) {
	t.Helper()
	if name == "broker" {
		srv := reflect.ValueOf(p.process.broker.Load()).Elem().FieldByName("srv") // nothing shipped can do this
		s := (*atomic.Pointer[server.Server])(unsafe.Pointer(srv.UnsafeAddr())).Load()
		s.Shutdown()
		s.WaitForShutdown()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kill, ok := p.kills[name]
	if !ok {
		t.Fatalf("part %q cannot be killed: instrument does not know its kind", name)
	}
	kill(errInjected)
}

// expectHandledOnce waits for the end of all jobs.
func (p *loaded) expectHandledOnce(t *testing.T, jobs int) {
	t.Helper()
	var nc *nats.Conn
	until(t, "the broker lets in", func() (ok bool) {
		var err error
		nc, err = nats.Connect(p.process.broker.Load().ClientURL())
		return err == nil
	})
	defer nc.Close()
	c, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), scriptPatience)
	defer cancel()
	finals := make(map[string]int)
	for e, err := range c.Events(ctx, time.Now().Add(-time.Hour)) {
		if err != nil {
			t.Fatalf("%v: %d of %d jobs ended", err, len(finals), jobs)
		}
		if e.State.Final() {
			finals[e.ID]++
		}
		if e.State.Final() && e.State != millhand.Succeeded || finals[e.ID] > 1 {
			t.Errorf("job %s ended %d times, as %s", e.ID, finals[e.ID], e.State)
		}
		if len(finals) == jobs {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range finals {
		if p.runs[id] != 1 {
			t.Errorf("the handler of job %s ran %d times", id, p.runs[id])
		}
	}
}

func (p *loaded) end(t *testing.T) {
	t.Helper()
	p.stop()
	if err := <-p.ended; err != nil {
		t.Errorf("run = %v", err)
	}
}
