package worker

import (
	"context"
	"errors"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
)

// PutCron writes an entry, and ends what was published of it ahead in a queue that it has left.
func PutCron(ctx context.Context, r *registry.Store, s *queue.Store, c registry.Cron) error {
	before, err := r.PutCron(ctx, c)
	if err != nil || before.Name == "" || before.Job.Queue == c.Job.Queue {
		return err
	}
	return s.LeaveCron(ctx, before.Job.Queue, c.Name, before.Rev+1)
}

// RemoveCron removes an entry, and ends what was published of it ahead. It returns
// [registry.ErrNoEntry] if there is none.
func RemoveCron(ctx context.Context, r *registry.Store, s *queue.Store, name string) error {
	before, err := r.RemoveCron(ctx, name)
	if err != nil || before.Job.Queue == "" { // it could not be read
		return err
	}
	return s.LeaveCron(ctx, before.Job.Queue, name, before.Rev+1)
}

// PauseCron keeps the ticks of an entry from coming, and ends what was published of it ahead. It returns
// [registry.ErrNoEntry] if there is none.
func PauseCron(ctx context.Context, r *registry.Store, s *queue.Store, name, reason string) error {
	before, err := r.PauseCron(ctx, name, reason)
	if err != nil || before.Name == "" { // it was paused before
		return err
	}
	return s.LeaveCron(ctx, before.Job.Queue, name, before.Rev+1)
}

// newTicker returns the part that publishes the ticks of all entries that the follower knows.
func (w *Worker) newTicker() *queue.Ticker {
	crons := func() []queue.Cron {
		known := w.crons.All()
		all := make([]queue.Cron, len(known))
		for i, c := range known {
			all[i] = queue.Cron{Entry: c.Entry, Job: c.Job}
		}
		return all
	}
	w.settler.JudgeTicks(func(ctx context.Context, name string) (cron.Entry, bool) {
		c, known := w.crons.Newest(ctx, name)
		return c.Entry, known
	})
	current := func(ctx context.Context, name string) (cron.Entry, error) {
		c, err := w.crons.Read(ctx, name)
		return c.Entry, err
	}
	return queue.NewTicker(w.store, crons, w.crons.Changed(), current)
}

// setCrons puts the configured entries where they are not there as they are.
func (w *Worker) setCrons(ctx context.Context) error {
	for _, c := range w.cfg.Crons {
		if err := PutCron(ctx, w.registry, w.store, c); err != nil {
			return err
		}
	}
	for _, name := range w.cfg.NoCrons {
		if err := RemoveCron(ctx, w.registry, w.store, name); err != nil && !errors.Is(err, registry.ErrNoEntry) {
			return err
		}
	}
	return nil
}
