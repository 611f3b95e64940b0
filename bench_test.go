package millhand

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/millhand/millhand/internal/natstest"
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
