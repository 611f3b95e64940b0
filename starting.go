package millhand

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
)

// atOnce is how many requests a start has in flight, so that its time is not that of one
// request for each limit and type.
const atOnce = 64

// together calls f for all items, many at once, and returns the first error.
func together[T any](ctx context.Context, items iter.Seq[T], f func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for item := range items {
		g.Go(func() error { return f(ctx, item) })
	}
	return g.Wait()
}

// waitsFor notes what the start waits for now, "" once it is over.
func (w *Worker) waitsFor(what string) {
	if what == "" {
		w.waits.Store(nil)
		return
	}
	w.waits.Store(&what)
}

const tellWaitsEach = 5 * time.Second

// tellWaits logs every few seconds what the start waits for, until ctx ends.
func (w *Worker) tellWaits(ctx context.Context) {
	began := time.Now()
	tick := time.NewTicker(tellWaitsEach)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if what := w.waits.Load(); what != nil {
			w.log.WarnContext(ctx, "still starting", slog.String("waits_for", *what), slog.Duration("since", time.Since(began).Round(time.Second)))
		}
	}
}
