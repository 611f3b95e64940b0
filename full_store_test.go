package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

const smallStore = 1 << 20 // bytes

// fullStore is a broker with a store of smallStore bytes, in which so many jobs wait that
// there is room for nothing.
func fullStore(t *testing.T, s *natstest.Server) (nc *nats.Conn, jobs int64) {
	t.Helper()
	s.Stop()
	s.MaxStore = smallStore
	s.Start(t)
	nc = s.Connect(t)
	c := client(t, nc)
	if _, err := c.Enqueue(t.Context(), email{To: "a@example.com"}); err != nil { // makes the streams
		t.Fatal(err)
	}
	js := jetStream(t, nc)
	for jobs = 1; ; jobs++ {
		if _, err := js.Publish(t.Context(), fmt.Sprintf("millhand.default.ready.email.job-%d", jobs), make([]byte, 256)); err != nil {
			return nc, jobs
		}
	}
}

// A worker that is started where jobs have filled the store runs them all, each once, and a
// limit that it brings along keeps it from nothing.
func TestFullStoreIsDrained(t *testing.T) {
	for name, quotas := range map[string][]millhand.Quota{"no limit": nil, "a new limit": {{Type: "email", Limit: 5}}} {
		t.Run(name, func(t *testing.T) { drainFullStore(t, quotas) })
	}
}

func drainFullStore(t *testing.T, quotas []millhand.Quota) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc, jobs := fullStore(t, s)
		var ran atomic.Int64
		mux := millhand.NewMux()
		mux.HandleFunc("email", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			ran.Add(1)
			return nil, nil
		})
		w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux, Concurrency: 10, Quotas: quotas, Config: millhand.Config{Logger: testLog(t)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Ready(t.Context()); err == nil {
			t.Error("ready though the broker takes no job")
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		js := jetStream(t, nc)
		left := func() uint64 {
			st, err := js.Stream(ctx, "millhand-queue-default")
			if err != nil {
				t.Fatal(err)
			}
			return st.CachedInfo().State.Msgs - 1 // the pin
		}
		for range 60 {
			time.Sleep(time.Minute)
			if left() == 0 {
				break
			}
		}
		if n := left(); n > 0 {
			t.Errorf("%d of %d jobs are left after an hour; %d were run", n, jobs, ran.Load())
		}
		if n := ran.Load(); n != jobs {
			t.Errorf("%d runs of %d jobs", n, jobs)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestFullStoreIsTold(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc, _ := fullStore(t, s)
		_, err := client(t, nc).Enqueue(t.Context(), email{To: "a@example.com"})
		if !errors.Is(err, millhand.ErrStoreFull) {
			t.Errorf("Enqueue = %v, want ErrStoreFull", err)
		}
		_, err = client(t, nc).EnqueueMany(t.Context(), []millhand.Request{{Args: email{To: "b@example.com"}}, {Args: email{To: "c@example.com"}}})
		if !errors.Is(err, millhand.ErrStoreFull) {
			t.Errorf("EnqueueMany = %v, want ErrStoreFull", err)
		}
	})
}

// A worker is ready if jobs can be enqueued and ended: a single stream that takes nothing is
// enough for it not to be.
func TestReadinessSeesEachStream(t *testing.T) {
	for _, stream := range []string{"millhand-events", "millhand-queue-default"} {
		t.Run(stream, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				mux := millhand.NewMux()
				mux.HandleFunc("email", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
				nc := s.Connect(t)
				w, _ := start(t, nc, millhand.WorkerConfig{Mux: mux})
				time.Sleep(time.Second)
				if err := w.Ready(t.Context()); err != nil {
					t.Fatalf("Ready = %v", err)
				}
				js := jetStream(t, nc)
				st := openStream(t, js, stream)
				if n := st.CachedInfo().State.Msgs; n > 1 { // the pin
					t.Errorf("%d messages in %s: a probe was left there", n, stream)
				}
				sealed := st.CachedInfo().Config
				sealed.Sealed = true
				if _, err := js.UpdateStream(t.Context(), sealed); err != nil {
					t.Fatal(err)
				}
				if err := w.Ready(t.Context()); err != nil {
					t.Errorf("Ready = %v, want the answer of a moment ago", err)
				}
				time.Sleep(4 * time.Second)
				if err := w.Ready(t.Context()); err == nil {
					t.Error("ready though a stream takes nothing")
				}
			})
		})
	}
}
