package registry

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/supervisor"
)

const (
	sweepFirst = 5 * time.Second  // after the start and after a new connection, and up to as long again
	sweepAgain = 10 * time.Minute // after a sweep
	overdueBy  = 5 * time.Second  // the broker removes what expires within a second
)

// sweep removes what the broker was to remove itself: presence, permits and orders that have
// expired. A server that was killed may have some of them again when it starts, and never looks at
// them any more. So the permits of nodes that are long gone would be taken for ever.
func (a *Agent) sweep(ctx context.Context, ready func()) error {
	connected := a.store.nc.StatusChanged(nats.CONNECTED)
	defer a.store.nc.RemoveStatusListener(connected)
	due := time.NewTimer(sweepFirst + rand.N(sweepFirst))
	defer due.Stop()
	ready()
	for {
		select {
		case <-ctx.Done():
			return supervisor.ErrShutdown
		case <-connected:
			due.Reset(sweepFirst + rand.N(sweepFirst))
		case <-due.C:
			a.sweepOnce(ctx)
			due.Reset(sweepAgain + rand.N(sweepAgain/10))
		}
	}
}

func (a *Agent) sweepOnce(ctx context.Context) {
	removed, err := a.store.removeOverdue(ctx)
	if removed > 0 {
		a.cfg.Logger.InfoContext(ctx, "removed what had expired and was there again, as after the end of a broker that was killed",
			slog.Int("count", removed))
	}
	if err != nil && ctx.Err() == nil {
		a.cfg.Logger.DebugContext(ctx, "cannot look for what has expired in the registry", slog.Any("err", err))
	}
}

// removeOverdue removes all entries that expired a while ago by the broker's clock, unless they were
// written again meanwhile, and returns how many there were.
func (s *Store) removeOverdue(ctx context.Context) (removed int, err error) {
	entries, _, err := s.bucket.Read(ctx, nodeKeys+".*", grantKeys+".*.*", rateKeys+".*.*", cancelKeys+".*.*.*", bulkKeys+".*")
	if err != nil {
		return 0, err
	}
	clock := newestTime(slices.Values(entries)) // nodes write every few seconds
	late := slices.DeleteFunc(entries, func(e stream.Entry) bool {
		return e.Value == nil || e.TTL == 0 || !e.Time.Add(e.TTL+overdueBy).Before(clock)
	})
	var count atomic.Int64
	errs := make(chan error, len(late))
	each(late, func(e stream.Entry) {
		_, err := s.bucket.Put(ctx, stream.Write{Key: e.Key, Remove: true, TTL: stream.MarkerTTL, On: e.Key, Rev: e.Rev})
		switch {
		case err == nil:
			count.Add(1)
		case !errors.Is(err, stream.ErrConflict):
			errs <- err
		}
	})
	close(errs)
	return int(count.Load()), <-errs
}
