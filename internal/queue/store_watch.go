package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

const (
	watchPause = time.Second      // between probes of a broker that stores nothing, and before the next doubt is heard
	watchSay   = 10 * time.Second // between the lines of the log about it
)

// A Watch keeps the slots shut for as long as the broker stores nothing: what runs then could
// not be ended. It looks when there is reason to doubt, and costs nothing before that.
type Watch struct {
	store   *Store
	slots   *slots.Slots
	queues  []string
	reserve reserve

	mu  sync.Mutex
	err error // guarded by mu; why the slots are shut, nil if it is not
}

// NewWatch returns a watch over the streams of the queues.
func NewWatch(s *Store, sl *slots.Slots, queues []string) *Watch {
	return &Watch{store: s, slots: sl, queues: queues, reserve: reserve{store: s}}
}

// Doubt tells that a write did not get through, so that the watch probes at once.
func (s *Store) Doubt() {
	wake(s.doubts)
}

// signalMended tells those who see to what was left behind.
func (s *Store) signalMended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.mended)
	s.mended = make(chan struct{})
}

// untilMended is closed when the broker stores again after it did not.
func (s *Store) untilMended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mended
}

// Err returns why the slots are shut, nil if it is not.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Probe reports whether the broker stores now.
func (w *Watch) Probe(ctx context.Context) error {
	err := w.store.Probe(ctx, w.queues...)
	w.tidy(ctx)
	return err
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	w.store.litter.Store(true) // of a worker before this one
	fill := time.NewTimer(0)
	defer fill.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.store.doubts:
			w.hold(ctx)
			fill.Reset(reservePause)
			w.tidy(ctx)
			_ = stream.Sleep(ctx, watchPause) // others may have doubts of the same cause
		case <-fill.C:
			fill.Reset(w.reserve.fill(ctx))
			w.tidy(ctx)
		}
	}
}

// hold shuts the slots until the broker stores: for all queues until it is known whose stream does
// not, and then for those.
func (w *Watch) hold(ctx context.Context) {
	probes, err := w.store.probes(w.queues)
	if err != nil {
		return // they were checked when their streams were made
	}
	w.slots.Hold(true)
	defer w.slots.Hold(false)
	defer w.note(nil)
	connected := w.store.nc.StatusChanged(nats.CONNECTED)
	defer w.store.nc.RemoveStatusListener(connected)
	var said time.Time
	refused := false
	for since := time.Now(); ; {
		errs := w.store.try(ctx, probes)
		err := errors.Join(errs...)
		if err == nil || ctx.Err() != nil || errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, nats.ErrConnectionClosed) {
			break // of those that are not nil, no probe will tell more
		}
		w.note(err)
		all := w.holdBack(ctx, probes, errs)
		refused = true
		w.store.refusedAt.Store(time.Now().UnixNano())
		if noRoom(err) {
			if w.reserve.openPart(ctx) {
				continue
			}
			w.reserve.forget(ctx) // and then the pause: its room may show late, and others make some too
		}
		now := time.Now()
		if (noRoom(err) || now.Sub(since) >= watchSay) && now.Sub(said) >= watchSay {
			said = now
			w.warn(ctx, all, err)
		}
		pause := time.NewTimer(watchPause)
		select {
		case <-pause.C:
		case <-connected:
		case <-ctx.Done():
		}
		pause.Stop()
	}
	if refused {
		w.store.signalMended()
	}
	if !said.IsZero() && ctx.Err() == nil {
		w.store.log.WarnContext(ctx, "the broker stores again: jobs are pulled")
	}
}

func (w *Watch) warn(ctx context.Context, all bool, err error) {
	if all {
		w.store.log.WarnContext(ctx, "the broker stores nothing: no jobs are pulled, and what ends waits to be written", slog.Any("err", err))
		return
	}
	w.store.log.WarnContext(ctx, "the broker stores nothing in the streams of some queues: no jobs of those are pulled, and what ends there waits to be written", slog.Any("err", err))
}

// holdBack lets those queues go on whose streams store, if that of the events does. It reports
// whether none may. It also does what nobody else would, with the slots shut: missing streams are
// made again, and probes do not pile up.
func (w *Watch) holdBack(ctx context.Context, probes []probe, errs []error) (all bool) {
	var held []string
	var stored []probe
	for i, p := range probes {
		switch {
		case errs[i] == nil:
			stored = append(stored, p)
		case p.queue == "":
			all = true
		default:
			held = append(held, p.queue)
		}
	}
	w.slots.Hold(all, held...)
	if errors.Is(errors.Join(errs...), nats.ErrNoResponders) {
		soon, cancel := context.WithTimeout(ctx, stream.MaxRetryPause)
		_ = w.store.restore(soon) // what it could not do shows in the next round
		cancel()
	}
	_ = w.store.removeProbes(ctx, stored) // else those of the next round are removed with them
	return all
}

// MakeRoom makes some if err says that the broker has none for a small message. It is for those
// who come before [Watch.Run], and reports whether it is of use to try again.
func (w *Watch) MakeRoom(ctx context.Context, err error) bool {
	return noRoom(err) && w.reserve.open(ctx)
}

// tidy tries once, and otherwise leaves it to the next probe.
func (w *Watch) tidy(ctx context.Context) {
	if !w.store.litter.Load() {
		return
	}
	if err := w.store.tidy(ctx, w.queues); err != nil && ctx.Err() == nil && Passing(err) {
		w.store.Doubt()
	}
}

func (w *Watch) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}
