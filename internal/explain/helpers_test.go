package explain_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// A mill is a namespace with a client, and with a view over a connection of its own.
type mill struct {
	natstest.TB
	ctx      context.Context //nolint:containedctx // of the test, which rapid's has none of
	server   *natstest.Server
	client   *millhand.Client
	nc       *nats.Conn
	view     *view.View
	registry *registry.Store
	link     *natstest.Link // of the view
	quit     chan struct{}  // closed when jobs that wait are to end
	free     chan struct{}  // closed when handlers that ignore the end of their context are to end
	end      []*worker
}

func newMill(t natstest.TB, s *natstest.Server) *mill {
	t.Helper()
	log := natstest.Logger(natstest.Output(t))
	m := &mill{TB: t, ctx: context.Background(), server: s, nc: s.Connect(t), link: s.Link(), quit: make(chan struct{}), free: make(chan struct{})}
	var err error
	if m.client, err = millhand.NewClient(m.nc, millhand.Config{Logger: log}); err != nil {
		t.Fatalf("%v", err)
	}
	js, err := stream.New(m.link.Connect(t), stream.Config{Logger: log})
	if err != nil {
		t.Fatalf("%v", err)
	}
	m.registry = registry.NewStore(js, log)
	counted := stats.NewStore(js, log)
	m.view = view.New(view.Config{
		Client: js, Store: queue.NewStore(js, queue.Config{Logger: log}), Registry: m.registry,
		Starts: func(ctx context.Context, queueName, typ string) (float64, error) {
			return counted.StartRate(ctx, tally.Pair{Queue: queueName, Type: typ}, time.Now())
		},
	})
	t.Cleanup(m.close)
	return m
}

func (m *mill) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatalf("%v", err)
	}
}

func (*mill) sleep(d time.Duration) { time.Sleep(d) }

// enqueue enqueues a job with a chosen id.
func (m *mill) enqueue(typ, id string, opts ...millhand.EnqueueOption) {
	m.Helper()
	_, err := m.client.Enqueue(m.ctx, millhand.Raw{Name: typ, Payload: []byte(`{}`)}, append(opts, millhand.WithID(id))...)
	m.must(err)
}

// A worker is one that a test can take away.
type worker struct {
	link *natstest.Link
	stop func() // and wait until it has drained
	quit func() // begin to drain
}

// hire starts a worker of these types, each of which does what its name says.
func (m *mill) hire(cfg millhand.WorkerConfig, types ...string) *worker {
	m.Helper()
	cfg.Logger, cfg.Mux = slog.New(slog.DiscardHandler), millhand.NewMux()
	for _, typ := range types {
		cfg.Mux.HandleFunc(typ, func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, m.run(ctx, typ) })
	}
	w := &worker{link: m.server.Link()}
	wk, err := millhand.NewWorker(w.link.Connect(m), cfg)
	m.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = wk.Run(ctx) })
	w.quit, w.stop = cancel, func() { cancel(); wg.Wait() }
	m.end = append(m.end, w)
	time.Sleep(2 * time.Second)
	return w
}

// run is what jobs of a type do.
func (m *mill) run(ctx context.Context, typ string) error {
	kind, _, _ := strings.Cut(typ, "-")
	switch kind {
	case "fail":
		return millhand.RetryAfter(time.Hour, errors.New("no luck"))
	case "die":
		return millhand.Permanent(errors.New("no hope"))
	case "snooze":
		return millhand.Snooze(time.Hour)
	case "ignore":
		<-m.free
		return nil
	case "nap":
		time.Sleep(3 * time.Second)
	case "wait":
		select {
		case <-m.quit:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (m *mill) release() {
	select {
	case <-m.quit:
	default:
		close(m.quit)
	}
}

func (m *mill) close() {
	m.release()
	select {
	case <-m.free:
	default:
		close(m.free)
	}
	for _, w := range m.end {
		w.link.Release()
		w.stop()
	}
}

// why asks why a job, default/TYPE/ID unless it has a queue, is where it is.
func (m *mill) why(ref string) *explain.Answer {
	m.Helper()
	parts := strings.Split(ref, "/")
	if len(parts) == 2 {
		parts = append([]string{"default"}, parts...)
	}
	p, err := job.PlaceOf(parts[0], parts[1], parts[2])
	m.must(err)
	a, err := explain.Look(m.ctx, m.view, p)
	m.must(err)
	check(m, a)
	return a
}

// check holds an answer to what is true of each.
func check(t rapid.TB, a *explain.Answer) {
	t.Helper()
	if len(a.Reasons) == 0 {
		t.Fatalf("no reason: %+v", a)
	}
	if a.Blocked != a.Reasons[0].Blocking || a.LookedAt.IsZero() {
		t.Errorf("blocked %t, looked at %v, reasons %s", a.Blocked, a.LookedAt, codes(a))
	}
	seen := make(map[string]bool)
	for i := range a.Reasons {
		r := &a.Reasons[i]
		if r.Text == "" || i > 0 && r.Blocking && !a.Reasons[i-1].Blocking {
			t.Errorf("reason %d of %s: %+v", i, codes(a), r)
		}
		key := string(r.Code)
		if d, ok := r.Data.(explain.PoolData); ok {
			key += d.Pool + d.Per
		}
		if seen[key] {
			t.Errorf("%s is said twice: %s", key, codes(a))
		}
		seen[key] = true
	}
	if h := a.Headline(); h == "" && !a.State.Final() {
		t.Errorf("no headline: %s", codes(a))
	}
}

// codes are the reasons in short: those that do not block in brackets.
func codes(a *explain.Answer) string {
	var all []string
	for _, r := range a.Reasons {
		if r.Blocking {
			all = append(all, string(r.Code))
		} else {
			all = append(all, "("+string(r.Code)+")")
		}
	}
	return strings.Join(all, " ")
}

// want asks why a job is where it is, and wants these reasons, in order, with these words among them.
func (m *mill) want(ref string, state job.State, want string, words ...string) *explain.Answer {
	m.Helper()
	a := m.why(ref)
	if got := codes(a); got != want || a.State != state {
		m.Errorf("%s: %s %s, want %s %s\n%s", ref, a.State, got, state, want, texts(a))
	}
	for _, w := range words {
		if !strings.Contains(texts(a), w) {
			m.Errorf("%s: no %q in\n%s", ref, w, texts(a))
		}
	}
	return a
}

func texts(a *explain.Answer) string {
	var b strings.Builder
	for _, r := range a.Reasons {
		fmt.Fprintf(&b, "  %s %s until %v %+v\n", r.Code, r.Text, r.Until, r.Data)
	}
	for _, d := range a.Advice {
		fmt.Fprintf(&b, "  %s: %s\n", d.Text, d.Command)
	}
	return b.String()
}

// reason returns the reason with a code, which is to be there.
func reason(t *testing.T, a *explain.Answer, code explain.Code) *explain.Reason {
	t.Helper()
	i := slices.IndexFunc(a.Reasons, func(r explain.Reason) bool { return r.Code == code })
	if i < 0 {
		t.Errorf("no %s in %s", code, codes(a))
		return &explain.Reason{}
	}
	return &a.Reasons[i]
}

// until wants a reason to end about then from now on.
func until(t *testing.T, a *explain.Answer, code explain.Code, in time.Duration) {
	t.Helper()
	if got := reason(t, a, code).Until.Sub(a.LookedAt); got < in-in/10-2*time.Second || got > in+in/10+2*time.Second {
		t.Errorf("%s ends in %v, want about %v", code, got, in)
	}
}
