package millhand

import (
	"context"
	"log/slog"
	"time"
)

// censusEvery is how often a worker looks for jobs that nobody handles.
const censusEvery = 10 * time.Second

// census says, once per type, that jobs wait of a type this worker has no handler for.
func (w *Worker) census(ctx context.Context, queue string) error {
	known := make(map[string]bool)
	for _, t := range w.cfg.Mux.Types() {
		known[t] = true
	}
	tick := time.NewTicker(censusEvery)
	defer tick.Stop()
	for {
		types, err := w.store.WaitingTypes(ctx, queue)
		if err != nil && ctx.Err() == nil {
			w.log.DebugContext(ctx, "cannot see which types wait", slog.String("queue", queue), slog.Any("err", err))
		}
		for _, t := range types {
			if known[t] {
				continue
			}
			known[t] = true
			w.log.WarnContext(ctx, "jobs wait of a type that this worker has no handler for", slog.String("type", t), slog.String("queue", queue))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
