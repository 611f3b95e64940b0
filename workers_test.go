package millhand_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// What was asked for under a limit does not start above one that is lower by then.
func TestQuotaIsLoweredWhileWorkersWait(t *testing.T) {
	for wait := 3 * time.Second; wait < 8*time.Second; wait += 1100 * time.Millisecond {
		natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
			m := newMill(t, s)
			m.set(t, millhand.Quota{Type: "import", Limit: 40})
			for i := range 4 {
				m.hire(t, i, 5*time.Second, millhand.WorkerConfig{}, "import")
			}
			time.Sleep(wait)
			m.set(t, millhand.Quota{Type: "import", Limit: 1})
			time.Sleep(time.Second)
			m.enqueue(t, 4, "import")
			time.Sleep(30 * time.Second)
			m.wantMost(t, "import", 1)
			if got := len(m.started("import")); got != 4 {
				t.Errorf("%d jobs have started, want 4", got)
			}
		})
	}
}

// start is the book's start_job: refused rather than waiting.
func (m *mill) start(ctx context.Context, typ string, opts ...millhand.EnqueueOption) (millhand.Ref, error) {
	return m.client.Enqueue(ctx, millhand.Raw{Name: typ}, append(opts, millhand.WithRejectAtQuota())...)
}

func isFull(err error, typ string, running, limit int) bool {
	q, ok := errors.AsType[*millhand.QuotaError](err)
	return ok && *q == millhand.QuotaError{Type: typ, Limit: limit, Running: running}
}

// Conformance cases quota-book, quota-frees, quota-select and quota-duplicate-id: five
// imports run, the sixth is refused, an e-mail is not; a slot is free when a job has ended.
func TestQuotaOfTheBook(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.set(t, millhand.Quota{Type: "import", Limit: 5})
		m.hire(t, 1, time.Minute, millhand.WorkerConfig{}, "import", "send_email")
		for i := range 5 {
			if _, err := m.start(t.Context(), "import", millhand.WithID("i"+strconv.Itoa(i+1))); err != nil {
				t.Fatalf("import %d: %v", i+1, err)
			}
			time.Sleep(time.Second)
		}
		_, err := m.start(t.Context(), "import", millhand.WithID("i6"))
		if !isFull(err, "import", 5, 5) || err.Error() != "import quota reached (5 of 5 running)" {
			t.Errorf("import 6: %v", err)
		}
		if _, err := m.start(t.Context(), "import", millhand.WithID("i1")); !errors.Is(err, millhand.ErrDuplicate) {
			t.Errorf("import 1 again: %v", err)
		}
		email, err := m.start(t.Context(), "send_email")
		if err != nil {
			t.Errorf("e-mail: %v", err)
		}
		time.Sleep(time.Second)
		running, err := m.client.Running(t.Context(), "import")
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, r := range running {
			ids = append(ids, r.ID)
		}
		if !slices.Equal(ids, []string{"i1", "i2", "i3", "i4", "i5"}) {
			t.Errorf("running imports %q", ids)
		}
		if owner, err := m.client.FindRunning(t.Context(), email); err != nil || owner.ID != email.ID || owner.Worker != running[0].Worker {
			t.Errorf("owner of the e-mail: %+v, %v", owner, err)
		}
		time.Sleep(55 * time.Second) // the first has ended
		if _, err := m.start(t.Context(), "import"); err != nil {
			t.Errorf("an import after one has ended: %v", err)
		}
		if _, err := m.client.FindRunning(t.Context(), millhand.Ref{Type: "import", ID: "i1"}); !errors.Is(err, millhand.ErrNotFound) {
			t.Errorf("owner of what has ended: %v", err)
		}
	})
}

// Conformance case quota-race: of 60 that start at once, over many connections, five get in.
func TestQuotaRace(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.set(t, millhand.Quota{Type: "import", Limit: 5})
		m.hire(t, 1, time.Hour, millhand.WorkerConfig{}, "import")
		var wg sync.WaitGroup
		errs := make([]error, 60)
		for i := range errs {
			c := client(t, s.Connect(t))
			wg.Go(func() {
				_, errs[i] = c.Enqueue(t.Context(), millhand.Raw{Name: "import"}, millhand.WithRejectAtQuota())
			})
		}
		wg.Wait()
		in := 0
		for i, err := range errs {
			if err == nil {
				in++
			} else if !isFull(err, "import", 5, 5) {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		if in != 5 {
			t.Errorf("%d got in, want 5", in)
		}
	})
}

// In a batch, those above the quota are refused and the others enqueued.
func TestQuotaRefusesInBatch(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.set(t, millhand.Quota{Type: "import", Limit: 2})
		reject := []millhand.EnqueueOption{millhand.WithRejectAtQuota()}
		refs, err := m.client.EnqueueMany(t.Context(), []millhand.Request{
			{Args: millhand.Raw{Name: "import"}, Options: reject},
			{Args: millhand.Raw{Name: "email"}, Options: reject},
			{Args: millhand.Raw{Name: "import"}, Options: reject},
			{Args: millhand.Raw{Name: "import"}, Options: reject},
			{Args: millhand.Raw{Name: "import"}},
		})
		batch, ok := errors.AsType[*millhand.BatchError](err)
		if !ok || len(batch.Unwrap()) != 1 {
			t.Fatalf("batch: %v", err)
		}
		for i, err := range batch.Errs {
			if (err != nil) != (refs[i].ID == "") {
				t.Errorf("job %d has ref %v and error %v", i, refs[i], err)
			}
		}
	})
}

// Workers are seen with what they are and run, come and go before those who watch, and
// their permits are accounted for.
func TestWorkersAreSeen(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		var wg sync.WaitGroup
		wg.Go(func() {
			for e, err := range m.client.WatchWorkers(ctx) {
				if err != nil {
					t.Errorf("watch: %v", err)
				}
				seen = append(seen, string(e.Kind)+" "+e.Worker.Name)
			}
		})
		m.set(t, millhand.Quota{Type: "import", Limit: 3})
		m.set(t, millhand.Quota{Key: "crm", Types: []string{"import"}, Limit: 10, Per: time.Minute})
		a := m.hire(t, 1, time.Minute, millhand.WorkerConfig{Name: "a", Concurrency: 7}, "import")
		m.enqueue(t, 5, "import")
		time.Sleep(5 * time.Second)
		workers, err := m.client.Workers(t.Context())
		if err != nil || len(workers) != 1 {
			t.Fatalf("workers %v, %v", workers, err)
		}
		if w := workers[0]; w.Name != "a" || w.Concurrency != 7 || w.RunningTotal != 3 || len(w.Running) != 3 ||
			!slices.Equal(w.Types, []string{"import"}) || !slices.Equal(w.Queues, []string{"default"}) || w.State != "working" ||
			w.Running[0].Worker != w.ID || time.Since(w.Seen) > 5*time.Second || w.PID == 0 {
			t.Errorf("worker %+v", w)
		}
		quotas, err := m.client.Quotas(t.Context())
		if err != nil || len(quotas) != 2 {
			t.Fatalf("quotas %v, %v", quotas, err)
		}
		if q := quotas[0]; q.Type != "import" || q.Limit != 3 || q.Held != 3 || q.Used != 3 || q.Wanted < 3 || len(q.Workers) != 1 || q.Workers[0].Worker != workers[0].ID {
			t.Errorf("quota of the type %+v", q)
		}
		if q := quotas[1]; q.Key != "crm" || q.Limit != 10 || q.Per != time.Minute || !slices.Equal(q.Types, []string{"import"}) || q.Used != 3 {
			t.Errorf("rate of the key %+v", q)
		}
		m.hire(t, 2, time.Minute, millhand.WorkerConfig{Name: "b"}, "import")
		a.Down()
		a.Cut()
		time.Sleep(15 * time.Second)
		a.Up()
		cancel()
		wg.Wait()
		if want := []string{"joined a", "joined b", "expired a"}; !slices.Equal(seen, want) {
			t.Errorf("events %q, want %q", seen, want)
		}
	})
}
