package registry

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/millhand/millhand/internal/stream"
)

// An orderWatcher hands orders to those who know of them.
type orderWatcher struct {
	*Orders
	ready   func() // nil once it was called
	failing bool   // and that was said
}

// Changed implements [stream.Watcher].
func (w *orderWatcher) Changed(ctx context.Context, e stream.Entry) error {
	if e.Value == nil {
		w.drop(e)
		return nil
	}
	order, err := decodeOrder(e.Key, e.Value, e.Rev)
	if err != nil {
		w.cfg.Logger.ErrorContext(ctx, "an order to cancel cannot be read: it is ignored",
			slog.String("bucket", w.store.bucket.Name()), slog.String("key", e.Key), slog.Any("err", err))
		return nil
	}
	w.note(order)
	return nil
}

// drop forgets an order that is gone.
func (w *orderWatcher) drop(e stream.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k := w.many[e.Key]; k != nil && k.Rev < e.Rev {
		delete(w.many, e.Key)
	}
	if t := strings.Split(e.Key, "."); len(t) == 4 {
		key := jobKey{t[1], t[2], t[3]}
		if k := w.one[key]; k != nil && k.Rev < e.Rev {
			delete(w.one, key)
		}
	}
	w.settle()
}

// Synced implements [stream.Watcher].
func (w *orderWatcher) Synced(context.Context) error {
	w.failing = false
	w.caughtUp()
	if ready := w.ready; ready != nil {
		w.ready = nil
		ready()
	}
	return nil
}

// Failed implements [stream.Watcher].
func (w *orderWatcher) Failed(ctx context.Context, err error) {
	if w.failing {
		return
	}
	w.failing = true
	w.cfg.Logger.WarnContext(ctx, "orders to cancel cannot be read at the moment: a job may start that was cancelled, and its end will not count", slog.Any("err", err))
}

// Lost implements [stream.Watcher]: what was ordered stays ordered.
func (w *orderWatcher) Lost(ctx context.Context, entries []stream.Entry) error {
	errs := make(chan error, len(entries))
	each(entries, func(e stream.Entry) {
		errs <- w.store.putFirst(ctx, stream.Write{Key: e.Key, Value: e.Value, TTL: orderTTL})
	})
	close(errs)
	for err := range errs {
		if err != nil && !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
	return nil
}
