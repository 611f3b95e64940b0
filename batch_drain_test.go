package millhand_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

func TestDrainFlushesBatches(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		stop := d.work(millhand.WorkerConfig{Concurrency: 2}, millhand.BatchConfig[parcel]{Size: 10, Wait: 15 * time.Second}, delivered)
		time.Sleep(time.Second)
		refs := d.enqueueMany(3)
		time.Sleep(time.Second)
		if n := len(d.sizes()); n > 0 {
			t.Fatalf("%d calls before the wait is over", n)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got := d.ids(); got != "p000 p001 p002" {
			t.Errorf("called for %s", got)
		}
		for _, r := range refs {
			d.want(r, "succeeded 1")
		}
	})
}

// What runs when the drain is over is handed back, and no attempt is counted.
func TestDrainHandsBatchesBack(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		refs := d.enqueueMany(5)
		stop := d.work(millhand.WorkerConfig{Concurrency: 1, DrainTimeout: time.Second}, millhand.BatchConfig[parcel]{Size: 3},
			func(ctx context.Context, _ *millhand.JobBatch[parcel]) error {
				<-ctx.Done()
				return context.Cause(ctx)
			})
		time.Sleep(500 * time.Millisecond)
		if err := stop(); !errors.Is(err, millhand.ErrDrainTimeout) {
			t.Errorf("the worker ended with %v", err)
		}
		for _, r := range refs {
			d.want(r, "ready 1")
		}
		d.work(millhand.WorkerConfig{Concurrency: 1}, millhand.BatchConfig[parcel]{Size: 3}, delivered)
		time.Sleep(5 * time.Second)
		for _, r := range refs {
			d.want(r, "succeeded 1")
		}
	})
}

func TestPauseTakesJobsOutOfTheirBatch(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		d.work(millhand.WorkerConfig{Concurrency: 2}, millhand.BatchConfig[parcel]{Size: 10, Wait: 10 * time.Second}, delivered)
		time.Sleep(time.Second)
		refs := d.enqueueMany(3)
		time.Sleep(time.Second)
		if err := d.client.Pause(t.Context(), "default"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := len(d.sizes()); n > 0 {
			t.Errorf("%d calls in a paused queue", n)
		}
		if err := d.client.Resume(t.Context(), "default"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		for _, r := range refs {
			d.want(r, "succeeded 1")
		}
	})
}
