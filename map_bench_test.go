package millhand_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A map enqueues and awaits its jobs, a drain only runs them: what is measured is the part of a
// drain's speed that is left. Run it with -benchtime 3x, on a quiet machine.
func BenchmarkMapBesideDrain(b *testing.B) {
	const jobs, inFlight = 10_000, 1000
	s := natstest.Real(b)
	cfg := millhand.Config{Logger: slog.New(slog.DiscardHandler)}
	c, err := millhand.NewClient(s.Connect(b), cfg)
	if err != nil {
		b.Fatal(err)
	}
	ran := make(chan struct{}, jobs)
	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[nap]) error {
		ran <- struct{}{}
		return nil
	})
	w, err := millhand.NewWorker(s.Connect(b), millhand.WorkerConfig{Config: cfg, Mux: mux, Concurrency: 100})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Pause(b.Context(), "default"); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	var drain, mapped time.Duration
	for b.Loop() {
		batch := slices.Repeat([]millhand.Request{{Args: nap{}}}, jobs)
		if err := c.Pause(b.Context(), "default"); err != nil {
			b.Fatal(err)
		}
		if _, err := c.EnqueueMany(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		if err := c.Resume(b.Context(), "default"); err != nil {
			b.Fatal(err)
		}
		for range jobs {
			<-ran
		}
		drain += time.Since(began)
		began = time.Now()
		in := func(yield func(nap) bool) {
			for i := range jobs {
				if !yield(nap{N: i}) {
					return
				}
			}
		}
		for _, err := range millhand.Map[int](b.Context(), c, in, millhand.MapConfig{InFlight: inFlight}) {
			if err != nil {
				b.Fatal(err)
			}
			<-ran
		}
		mapped += time.Since(began)
	}
	b.ReportMetric(float64(jobs*b.N)/drain.Seconds(), "drained/s")
	b.ReportMetric(float64(jobs*b.N)/mapped.Seconds(), "mapped/s")
	b.ReportMetric(drain.Seconds()/mapped.Seconds(), "ratio")
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
