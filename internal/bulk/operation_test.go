package bulk_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/view"
)

// A mill is a namespace, with what an operator has of it.
type mill struct {
	server   *natstest.Server
	client   *millhand.Client
	store    *queue.Store
	registry *registry.Store
	view     *view.View
}

func newMill(t *testing.T, s *natstest.Server) *mill {
	t.Helper()
	log := natstest.Logger(t.Output())
	nc := s.Connect(t)
	c, err := millhand.NewClient(nc, millhand.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	js, err := stream.New(nc, stream.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	m := &mill{server: s, client: c}
	m.registry = registry.NewStore(js, log)
	m.store = queue.NewStore(js, queue.Config{Registry: m.registry.Bucket(), Logger: log})
	m.view = view.New(view.Config{Client: js, Registry: m.registry, Store: m.store})
	return m
}

func (m *mill) enqueue(t *testing.T, n int, typ string, opts ...millhand.EnqueueOption) {
	t.Helper()
	for i := range n {
		all := append([]millhand.EnqueueOption{millhand.WithID(fmt.Sprintf("%s-%d", typ, i))}, opts...)
		if _, err := m.client.Enqueue(t.Context(), millhand.Raw{Name: typ, Payload: []byte(`{}`)}, all...); err != nil {
			t.Fatal(err)
		}
	}
}

// hire starts a worker that runs jobs of a type, and returns what stops it.
func (m *mill) hire(t *testing.T, typ string, run func(context.Context) error) (fire func()) {
	t.Helper()
	cfg := millhand.WorkerConfig{Mux: millhand.NewMux(), Concurrency: 20}
	cfg.Logger = natstest.Logger(t.Output())
	cfg.Mux.HandleFunc(typ, func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, run(ctx) })
	w, err := millhand.NewWorker(m.server.Connect(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	fire = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	t.Cleanup(fire)
	return fire
}

func (m *mill) operation(t *testing.T, kind bulk.Kind, text string) bulk.Operation {
	t.Helper()
	f, err := filter.Parse(text)
	if err == nil {
		f, err = kind.Meant(f, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // what came in this moment is not meant
	snap, err := m.view.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return bulk.Operation{Filter: f, Before: snap.At}
}

func (m *mill) run(t *testing.T, op bulk.Operation, a bulk.Action) bulk.Report {
	t.Helper()
	r, err := bulk.Run(t.Context(), m.view, op, a, bulk.NewPace(500), nil)
	if err != nil || r.Failed > 0 {
		t.Errorf("run: %+v, %v", r, err)
	}
	return r
}

// count is how many jobs match.
func (m *mill) count(t *testing.T, text string) int {
	t.Helper()
	f, err := filter.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	look, err := bulk.Look(t.Context(), m.view, bulk.Operation{Filter: f, Before: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return look.Matched
}

// oneEnd fails if a life has ended twice, and returns how many ended in each way.
func (m *mill) oneEnd(t *testing.T) map[millhand.EventKind]int {
	t.Helper()
	ends, kinds := make(map[string]int), make(map[millhand.EventKind]int)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for e, err := range m.client.Events(ctx, time.Unix(1, 0)) {
		if err != nil {
			break
		}
		if e.State.Final() {
			ends[e.ID+" "+e.Life]++
			kinds[e.Kind]++
		}
	}
	for life, n := range ends {
		if n > 1 {
			t.Errorf("%s has ended %d times", life, n)
		}
	}
	return kinds
}

func permanently(context.Context) error {
	return millhand.Permanent(errors.New("450 4.7.1 greylisted"))
}

// Two operators retry the same dead jobs while workers take them: each runs once more.
func TestRetryRaces(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		const jobs = 20
		m := newMill(t, s)
		fire := m.hire(t, "email", permanently)
		m.enqueue(t, jobs, "email")
		time.Sleep(time.Minute)
		fire()
		m.enqueue(t, 1, "email", millhand.WithDelay(time.Hour)) // the id of one of them is taken
		if n := m.count(t, "state:dead type:email"); n != jobs {
			t.Fatalf("%d are dead", n)
		}
		op := m.operation(t, bulk.Retry, `type:email error:"450 4.7.1"`)
		m.hire(t, "email", permanently) // what runs again dies again, and is not meant a second time
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if r := m.run(t, op, &bulk.Retrier{Store: m.store}); r.Refused[bulk.Alive] != 1 || r.Done+r.RefusedTotal() > jobs {
					t.Errorf("%+v", r)
				}
			})
		}
		both.Wait()
		time.Sleep(time.Minute)
		if kinds := m.oneEnd(t); kinds[millhand.EventDead] != jobs+jobs-1 {
			t.Errorf("ends: %v", kinds)
		}
		if n := m.count(t, "state:dead type:email"); n != jobs {
			t.Errorf("%d are dead afterwards", n)
		}
	})
}

// Jobs are cancelled while workers run them: each ends once, and nothing that waits is left of them.
func TestCancelRaces(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		const jobs = 40
		m := newMill(t, s)
		m.enqueue(t, jobs, "import")
		op := m.operation(t, bulk.Cancel, "state:ready type:import")
		m.enqueue(t, 1, "import", millhand.WithID("later-on")) // is not meant
		m.hire(t, "import", func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(30 * time.Millisecond):
				return nil
			}
		})
		order := job.Order{Grace: time.Second, By: "oncall (cli)", Reason: "wrong file"}
		r := m.run(t, op, &bulk.Canceller{Store: m.store, Orders: m.registry, Order: order})
		time.Sleep(time.Minute)
		kinds := m.oneEnd(t)
		if kinds[millhand.EventCancelled] == 0 || kinds[millhand.EventCancelled] > r.Done || m.count(t, "state:scheduled,ready,running,retrying") != 0 {
			t.Errorf("report %+v, ends %v", r, kinds)
		}
	})
}

// Jobs that wait are cancelled before those that run, so that none of them starts in their room. One that has
// started meanwhile is meant all the same.
func TestWhatWaitsIsCancelledFirst(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		const slots, jobs = 20, 50
		m := newMill(t, s)
		var started atomic.Int32
		m.hire(t, "import", func(ctx context.Context) error {
			started.Add(1)
			<-ctx.Done()
			return context.Cause(ctx)
		})
		m.enqueue(t, jobs, "import")
		op := m.operation(t, bulk.Cancel, "state:ready,running type:import")
		action := &bulk.Canceller{Store: m.store, Orders: m.registry, Order: job.Order{Grace: time.Second}}
		if _, err := m.client.Cancel(t.Context(), millhand.Ref{Queue: "default", Type: "import", ID: "import-0"}); err != nil { // the next one starts
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if r := m.run(t, op, action); r.Done != jobs-1 || started.Load() != slots+1 {
			t.Errorf("%d were started; %+v", started.Load(), r)
		}
	})
}

// A job that ran meanwhile, and waits again, is neither started nor cancelled by who saw it before.
func TestChangedSince(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hire(t, "report", func(context.Context) error { return millhand.RetryAfter(5*time.Minute, errors.New("no")) })
		m.enqueue(t, 2, "report")
		time.Sleep(time.Second)
		seen, err := m.view.List(t.Context(), view.Query{Filter: m.operation(t, bulk.Start, "state:retrying type:report").Filter})
		if err != nil || len(seen.Jobs) != 2 {
			t.Fatalf("%+v, %v", seen, err)
		}
		time.Sleep(7 * time.Minute) // they are at their third attempt
		for _, a := range []bulk.Action{
			&bulk.Starter{Store: m.store},
			&bulk.Starter{Store: m.store, At: time.Now().Add(5 * time.Hour)},
			&bulk.Canceller{Store: m.store, Orders: m.registry, Order: job.Order{Grace: time.Second}},
		} {
			for i := range seen.Jobs {
				_, err := a.Act(t.Context(), &seen.Jobs[i])
				if r, ok := errors.AsType[*bulk.RefusedError](err); !ok || r.Reason != bulk.Changed {
					t.Errorf("%T: %v", a, err)
				}
			}
		}
		if n := m.count(t, "state:retrying type:report attempt:3"); n != 2 {
			t.Errorf("%d wait for their third attempt", n)
		}
	})
}

// Two operators start jobs early while workers take them: each runs once.
func TestStartRaces(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		const jobs = 20
		m := newMill(t, s)
		m.enqueue(t, jobs, "report", millhand.WithDelay(time.Hour))
		var mu sync.Mutex
		runs := 0
		m.hire(t, "report", func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			runs++
			return nil
		})
		op := m.operation(t, bulk.Start, "state:scheduled type:report")
		done := make(chan bulk.Report, 2)
		for range 2 {
			go func() { done <- m.run(t, op, &bulk.Starter{Store: m.store}) }()
		}
		a, b := <-done, <-done
		if a.Done+b.Done < jobs { // in the same moment both may have
			t.Errorf("%+v and %+v", a, b)
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if runs != jobs {
			t.Errorf("%d runs", runs)
		}
		if n := m.count(t, "state:scheduled,ready,running,retrying"); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

func TestDelete(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hire(t, "email", permanently)
		m.enqueue(t, 20, "email")
		time.Sleep(time.Minute)
		op := m.operation(t, bulk.Delete, "type:email -id:email-7")
		if r := m.run(t, op, &bulk.Deleter{Store: m.store}); r.Done != 19 || r.Outcomes[bulk.Deleted] != 19 {
			t.Errorf("%+v", r)
		}
		if n := m.count(t, "state:dead"); n != 1 {
			t.Errorf("%d are left", n)
		}
	})
}
