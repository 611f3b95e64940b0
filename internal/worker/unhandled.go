package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// unhandledEvery is how often a worker checks its queues, and looks for jobs that it has no handler for.
const unhandledEvery = 10 * time.Second

// mostUnhandled is how many types of a queue are named that a worker has no handler for.
const mostUnhandled = 10

// watchUnhandled checks a queue's stream now and then. It warns, once for each type, of waiting jobs
// that this worker has no handler for.
func (w *Worker) watchUnhandled(ctx context.Context, name string) error {
	c, err := queue.NewStreamCheck(w.store, name)
	if err != nil {
		return err
	}
	known := map[string]bool{job.WorkflowType: w.cfg.Workflows != nil}
	for _, t := range w.types {
		known[t] = true
	}
	named := 0
	tick := time.NewTicker(unhandledEvery)
	defer tick.Stop()
	for {
		types, err := c.Waiting(ctx)
		if err = errors.Join(err, c.Run(ctx)); err != nil && ctx.Err() == nil {
			w.log.DebugContext(ctx, "cannot look after a queue", slog.String("queue", name), slog.Any("err", err))
		}
		for _, t := range types {
			if known[t] || named > mostUnhandled {
				continue
			}
			if named++; named > mostUnhandled {
				w.log.WarnContext(ctx, "jobs wait of many types that this worker has no handler for, and no more of them are named: are type and id swapped in their subjects, <namespace>.<queue>.ready.<type>.<id>?",
					slog.String("type", t), slog.String("queue", name))
				continue
			}
			known[t] = true
			w.log.WarnContext(ctx, "jobs wait of a type that this worker has no handler for", slog.String("type", t), slog.String("queue", name))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
