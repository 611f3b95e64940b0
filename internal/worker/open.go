package worker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/slots"
)

// open makes the streams and waits for a broker that is not there yet.
func (w *Worker) open(ctx context.Context) error {
	for pause := openPause; ; pause = min(2*pause, openPauseMax) {
		err := w.openAll(ctx)
		if err == nil {
			w.store.WarnPayload(ctx)
		}
		if _, refused := errors.AsType[*job.InvalidError](err); err == nil || refused || !queue.Passing(err) {
			return err
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop before there was anything to drain
		}
		w.log.WarnContext(ctx, "the broker is not ready", slog.Any("err", err))
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (w *Worker) openAll(ctx context.Context) error {
	type source struct{ queue, typ string }
	var sources []source
	w.waitsFor("the streams of its queues")
	for _, q := range w.queues {
		if err := w.store.Open(ctx, q); err != nil {
			return err
		}
		for _, t := range w.types {
			sources = append(sources, source{q, t})
		}
	}
	if err := w.store.SetRetention(ctx, w.cfg.Retention); err != nil {
		return err
	}
	w.waitsFor(fmt.Sprintf("%d consumers, one for each type in each queue", len(sources)))
	err := together(ctx, slices.Values(sources), func(ctx context.Context, s source) error {
		return w.store.CheckLease(ctx, s.queue, s.typ)
	})
	if err != nil {
		return err
	}
	w.waitsFor(fmt.Sprintf("%d limits and %d schedules to be set in the registry", len(w.cfg.Limits), len(w.cfg.Crons)))
	for {
		// Jobs that fill the store can only be worked off once this worker has begun.
		if err := w.setConfigured(ctx); err == nil || !w.watch.MakeRoom(ctx, err) {
			return err
		}
	}
}

// setConfigured puts what is configured for all workers into the registry.
func (w *Worker) setConfigured(ctx context.Context) error {
	if err := w.setLimits(ctx); err != nil {
		return err
	}
	return w.setCrons(ctx)
}

// setLimits puts the configured limits into the registry where no person has set others. The
// limits come first, so that no type belongs to a key without one.
func (w *Worker) setLimits(ctx context.Context) error {
	err := together(ctx, maps.Keys(w.cfg.Limits), func(ctx context.Context, p slots.Key) error {
		return w.registry.ConfigureLimit(ctx, p, w.cfg.Limits[p])
	})
	if err != nil {
		return err
	}
	return together(ctx, maps.Keys(w.cfg.Keys), func(ctx context.Context, typ string) error {
		return w.registry.ConfigureKey(ctx, typ, w.cfg.Keys[typ])
	})
}

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
			w.log.WarnContext(ctx, "still starting", slog.String("waits_for", *what), slog.Duration("duration", time.Since(began).Round(time.Second)))
		}
	}
}
