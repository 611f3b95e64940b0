package registry

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// drainTTL is how long an order to drain holds. A worker is not to stand idle for ever because somebody
// forgot it, nor is the order to outlive the worker for long: each start has an id of its own.
const drainTTL = time.Hour

// An Order to a node, as the bucket has it, and the presence of the node that heeds it.
type Order struct {
	Drain bool      `json:"drain"`
	By    string    `json:"by,omitempty"`
	At    time.Time `json:"at"`
}

// Drain orders a node to take no new jobs, for an hour or until [Store.Undrain]. What runs goes on, and
// what has not started is handed back. Its presence says that it heeds it. A node of an earlier version
// does not know of such an order.
func (s *Store) Drain(ctx context.Context, node string) error {
	if err := job.CheckID(node); err != nil {
		return err
	}
	value := encode(Order{Drain: true, By: s.by(), At: time.Now().UTC()})
	return s.set(ctx, orderSetting(node), func(stream.Entry) ([]byte, bool) { return value, true })
}

// Undrain ends an order to drain.
func (s *Store) Undrain(ctx context.Context, node string) error {
	if err := job.CheckID(node); err != nil {
		return err
	}
	return s.set(ctx, orderSetting(node), to(nil))
}

func orderSetting(node string) setting {
	return setting{key: drainKey(node), on: drainKey(node), ttl: drainTTL}
}

// applyDrain takes over an order to this node. One that cannot be read is none.
func (s *state) applyDrain(e stream.Entry) {
	var o Order
	if e.Value != nil && json.Unmarshal(e.Value, &o) != nil {
		s.log.Error("an order to this worker cannot be read: it is ignored", slog.String("bucket", s.store.bucket.Name()),
			slog.String("key", e.Key), slog.String("value", string(e.Value)), slog.String("want", `{"drain":true}`))
	}
	if o.Drain {
		s.log.Info("draining by order: no new jobs are taken until it ends, within an hour", slog.String("by", o.By))
	}
	s.heeds = nil
	if o.Drain {
		s.heeds = &o
	}
	s.cfg.Slots.Suspend(o.Drain)
	s.presentAt = time.Time{} // whoever gave it waits for the presence to say so
}
