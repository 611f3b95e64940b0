package registry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/stream"
)

// roundTimeout bounds a round, so that the agent hears what it is told.
const roundTimeout = 3 * time.Second

// round has every holder do what is due, all at once, and writes presence when that is due: how many
// limits there are, and how far away the broker is, must not add up. Once the broker is found
// silent, nothing more is asked of it, and who was left out is first the next time.
func (s *state) round(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	each(s.left, func(h *holder) { h.remove(ctx) }) // before a holder of the same key writes anything
	s.left = nil

	var silent atomic.Bool
	var due []*task
	for _, h := range s.order {
		if do := h.plan(now); do != nil {
			due = append(due, &task{holder: h, do: do})
		} else {
			s.toldUntil[h.key] = h.until()
		}
	}
	var back *task
	if len(s.offered) > 0 && !now.Before(s.takeBackAt) {
		back = &task{do: s.takeBack}
		due = append(due, back)
	}
	var presence *task
	if s.cfg.Snapshot != nil && !now.Before(s.presentAt) {
		presence = &task{do: s.present}
		due = append(due, presence)
	}
	each(due, func(t *task) {
		if silent.Load() {
			return
		}
		t.sent, t.err = true, t.do(ctx)
		if isSilence(t.err) {
			silent.Store(true)
		}
	})
	if presence != nil {
		s.wrotePresence(ctx, presence)
	}
	for _, t := range due {
		if t.holder != nil && t.sent {
			t.holder.answered(t.err)
			s.toldUntil[t.holder.key] = t.holder.until()
		}
	}
	if silent.Load() {
		s.silent = time.Now().Add(silence)
		s.order = leftOutFirst(s.order, due)
	}
	s.reportPermits(ctx)
	s.reportTakenBack(ctx, back)
}

// A task is what a holder asks of the broker in a round, or, if that is nil, the agent itself.
type task struct {
	holder *holder
	do     request
	sent   bool // the broker was not found silent before
	err    error
}

func leftOutFirst(order []*holder, due []*task) []*holder {
	out := make(map[*holder]bool)
	for _, t := range due {
		out[t.holder] = !t.sent
	}
	slices.SortStableFunc(order, func(a, b *holder) int {
		switch {
		case out[a] && !out[b]:
			return -1
		case out[b] && !out[a]:
			return 1
		}
		return 0
	})
	return order
}

// reportPermits says which limits cannot be kept up with.
func (s *state) reportPermits(ctx context.Context) {
	failing := 0
	var first *holder
	for _, h := range s.order {
		if h.err == nil {
			continue
		}
		if failing++; first == nil || prefix(h.key) < prefix(first.key) {
			first = h
		}
	}
	if first == nil {
		s.troubles.ended(ctx, withPermits)
	} else if ctx.Err() == nil || isSilence(first.err) {
		s.troubles.has(ctx, withPermits, first.err, slog.String("first", prefix(first.key)), slog.Int("count", failing))
	}
}

// takeBackPause is how long settings that were handed back wait after one of them could not be
// written: permits have the rounds in between to themselves.
const takeBackPause = time.Second

// reportTakenBack says if a setting that was handed back cannot be written, where t tried that.
func (s *state) reportTakenBack(ctx context.Context, t *task) {
	switch {
	case len(s.offered) == 0:
		s.troubles.ended(ctx, withHandedBack)
	case t == nil, !t.sent, t.err == nil, errors.Is(t.err, context.Canceled), errors.Is(t.err, stream.ErrConflict):
	default:
		s.takeBackAt = time.Now().Add(takeBackPause)
		s.troubles.has(ctx, withHandedBack, t.err)
	}
}

// present writes what the node is and runs.
func (s *state) present(ctx context.Context) error {
	now := s.cfg.Snapshot()
	n := now.bounded()
	n.Order = s.heeds
	value, err := json.Marshal(n)
	if err != nil {
		return err
	}
	_, err = s.store.bucket.Put(ctx, stream.Write{Key: nodeKey(s.cfg.Node), Value: value, TTL: s.cfg.TTL})
	if err != nil && !errors.Is(err, context.Canceled) && s.cfg.Doubt != nil {
		s.cfg.Doubt()
	}
	return err
}

// wrotePresence plans when presence is written the next time. Nothing waits for it: a node that
// cannot say that it is there works all the same.
func (s *state) wrotePresence(ctx context.Context, t *task) {
	switch {
	case !t.sent: // the broker is silent
	case errors.Is(t.err, context.Canceled): // this worker stops
	case t.err == nil:
		s.absent = 0
		s.presentAt = time.Now().Add(s.cfg.TTL/3 - rand.N(s.cfg.TTL/30))
		s.troubles.ended(ctx, withPresence)
	default:
		s.absent = min(max(2*s.absent, silence), 5*time.Second)
		s.presentAt = time.Now().Add(s.absent)
		s.troubles.has(ctx, withPresence, t.err)
	}
}
