package millhand

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/worker"
)

type benchArgs struct {
	To string `json:"to"`
	N  int    `json:"n"`
}

func (benchArgs) Type() string { return "bench" }

// A job's whole way: pulled, dispatched to a goroutine, decoded, run and settled, with the
// broker in the same process.
func BenchmarkDispatch(b *testing.B) {
	s := natstest.Real(b)
	cfg := Config{Logger: slog.New(slog.DiscardHandler)}
	client, err := NewClient(s.Connect(b), cfg)
	if err != nil {
		b.Fatal(err)
	}
	for left := b.N; left > 0; left -= 1000 {
		batch := make([]Request, min(left, 1000))
		for i := range batch {
			batch[i].Args = benchArgs{To: "someone@example.com", N: i}
		}
		if _, err := client.EnqueueMany(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	var jobs sync.WaitGroup
	jobs.Add(b.N)
	mux := NewMux()
	var first sync.Once
	Handle(mux, func(context.Context, *Job[benchArgs]) error {
		first.Do(b.ResetTimer) // the start of a worker is not a job's
		jobs.Done()
		return nil
	})
	w, err := NewWorker(s.Connect(b), WorkerConfig{Config: cfg, Mux: mux, Concurrency: 100})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	b.ReportAllocs()
	go func() { ended <- w.Run(ctx) }()
	jobs.Wait()
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// A handler without middleware is called as it is; one that does nothing costs the job as bytes.
func BenchmarkMiddleware(b *testing.B) {
	pass := func(next HandlerFunc) HandlerFunc { return next }
	for name, use := range map[string][]Middleware{"none": nil, "one": {pass}, "three": {pass, pass, pass}} {
		b.Run(name, func(b *testing.B) {
			h, d := benchHandler(b, use), benchDelivery()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h(b.Context(), d, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchHandler(tb testing.TB, use []Middleware) worker.Handler {
	tb.Helper()
	mux := NewMux()
	mux.Use(use...)
	Handle(mux, func(context.Context, *Job[benchArgs]) error { return nil })
	types, err := mux.build()
	if err != nil {
		tb.Fatal(err)
	}
	return types["bench"].Handler
}

func benchDelivery() *queue.Delivery {
	return &queue.Delivery{Record: job.Record{Type: "bench", ID: "1", Payload: []byte(`{"to":"someone@example.com","n":1}`)}}
}

// Where there is no middleware, nothing is paid for it: the job is not even made as bytes.
func TestNoMiddlewareCostsNothing(t *testing.T) {
	h, d := benchHandler(t, nil), benchDelivery()
	got := testing.AllocsPerRun(100, func() {
		if _, err := h(t.Context(), d, 1); err != nil {
			t.Fatal(err)
		}
	})
	j := new(Job[benchArgs])
	want := testing.AllocsPerRun(100, func() {
		j = newJob[benchArgs](d, 1)
		if err := json.Unmarshal(d.Payload, &j.Args); err != nil {
			t.Fatal(err)
		}
	})
	if got != want {
		t.Errorf("%v allocations for %s, want the %v of decoding the job", got, j.ID, want)
	}
}
