package registry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/supervisor"
)

const (
	idleLook = time.Second            // at the clock, while nothing is limited here
	silence  = 300 * time.Millisecond // before a broker that does not answer is asked again
)

// state is what the agent's server owns.
type state struct {
	*Agent
	self   *supervisor.Self[message]
	log    *slog.Logger
	cancel func() bool // takes back the next tick

	limits map[PoolKey]setting // all there are
	keys   map[string]string   // by type
	pools  map[PoolKey]*pool   // that concern this node
	order  []*pool             // of them, whose turn it is first

	known     bool      // all settings were read once
	presentAt time.Time // when presence is to be written again
	silent    time.Time // the broker is not asked before
}

type setting struct {
	Limit
	rev uint64
}

// Handle implements supervisor.Handler.
func (s *state) Handle(ctx context.Context, msg message) error {
	switch m := msg.(type) {
	case tick:
		s.tick(ctx)
	case changed:
		s.apply(ctx, m.entry)
	case hinted:
		if p := s.pools[m.pool]; p != nil {
			p.hinted(m.hint)
		}
	case synced:
		s.known = true
		s.reconcile(ctx)
		s.turn(ctx, time.Now())
		if err := s.present(ctx); err != nil {
			m.reply.Fail(err)
			return nil
		}
		s.next()
		m.reply.Send(struct{}{})
	}
	return nil
}

// tick does what is due.
func (s *state) tick(ctx context.Context) {
	now := time.Now()
	for _, p := range s.order {
		p.expired(now)
	}
	if s.known && !now.Before(s.silent) {
		s.turn(ctx, now)
		if !now.Before(s.presentAt) {
			if err := s.present(ctx); err != nil {
				s.failed(ctx, "presence not written", err)
			}
		}
	}
	s.next()
}

// next arms the next tick, a little apart from those of other nodes.
func (s *state) next() {
	s.cancel()
	pause := min(idleLook, max(time.Until(s.presentAt), lookEvery))
	if len(s.pools) > 0 {
		pause = lookEvery
	}
	s.cancel = s.self.After(pause*9/10+rand.N(pause/5), tick{})
}

// turn gives every pool its turn, beginning with the one that was left out last time.
func (s *state) turn(ctx context.Context, now time.Time) {
	for i, p := range s.order {
		err := p.act(ctx, now)
		s.told[p.key] = p.until()
		if err == nil {
			continue
		}
		s.failed(ctx, "permits not refreshed", err, slog.String("pool", p.key.String()))
		if isSilence(err) {
			s.order = slices.Concat(s.order[i:], s.order[:i])
			return
		}
	}
}

func (s *state) failed(ctx context.Context, what string, err error, attrs ...slog.Attr) {
	if ctx.Err() != nil {
		return
	}
	if isSilence(err) {
		s.silent = time.Now().Add(silence)
	}
	s.log.LogAttrs(ctx, slog.LevelDebug, what, append(attrs, slog.Any("err", err))...) //nolint:sloglint // a constant of the caller
}

// apply takes over a setting.
func (s *state) apply(ctx context.Context, e entry) {
	if pool, last, ok := parsePool(e.Key); ok && last == limitToken {
		s.applyLimit(pool, e)
	}
	if typ, ok := strings.CutPrefix(e.Key, keyKeys+"."); ok && slices.Contains(s.cfg.Types, typ) {
		_, key, ok := parseKey(e)
		delete(s.keys, typ)
		if ok {
			s.keys[typ] = key
		}
		s.cfg.SetKey(typ, key)
	}
	if queue, ok := strings.CutPrefix(e.Key, pauseKeys+"."); ok && slices.Contains(s.cfg.Queues, queue) {
		s.cfg.Pause(queue, e.Value != nil)
	}
	if s.known {
		s.reconcile(ctx)
		s.next()
	}
}

func (s *state) applyLimit(pool PoolKey, e entry) {
	delete(s.limits, pool)
	if e.Value == nil {
		return
	}
	limit, ok := decodeLimitOf(pool, e.Value)
	if !ok {
		s.log.Error("a limit cannot be read and does not hold: set it anew", slog.String("pool", pool.String()), slog.Bool("rate", pool.Rate), slog.String("value", string(e.Value)))
		return
	}
	s.limits[pool] = setting{limit, e.Rev}
}

// reconcile joins the pools that concern the node, leaves those that do not, and tells the
// others what their limit is.
func (s *state) reconcile(ctx context.Context) {
	now := time.Now()
	for key, p := range s.pools {
		if _, limited := s.limits[key]; limited && s.serves(key) {
			continue
		}
		s.log.InfoContext(ctx, "limit lifted", slog.String("pool", key.String()), slog.Bool("rate", key.Rate))
		p.leave(ctx)
		delete(s.pools, key)
		delete(s.told, key)
		s.order = slices.DeleteFunc(s.order, func(o *pool) bool { return o == p })
	}
	for key, l := range s.limits {
		p := s.pools[key]
		switch {
		case !s.serves(key):
		case p == nil:
			s.join(ctx, now, key, l)
		case l.Limit != p.limit || l.rev > p.limitRev:
			if l.Per != p.limit.Per {
				p.valve = s.cfg.Valve(key, l.Per)
			}
			s.logLimit(ctx, key, l.Limit)
			p.limited(now, l.Limit, l.rev)
		}
	}
}

func (s *state) logLimit(ctx context.Context, key PoolKey, l Limit) {
	attrs := []any{slog.String("pool", key.String()), slog.Int("jobs", l.Jobs)}
	if l.Per > 0 {
		attrs = append(attrs, slog.Duration("per", l.Per))
	}
	s.log.InfoContext(ctx, "limit", attrs...)
}

// join begins with no permit. What runs already, if anything, may go on for as long as a
// grant lasts, but for no longer than it was told before the server crashed.
func (s *state) join(ctx context.Context, now time.Time, key PoolKey, l setting) {
	s.logLimit(ctx, key, l.Limit)
	p := &pool{
		key: key, node: s.cfg.Node, ttl: s.cfg.TTL, store: s.store, log: s.log,
		valve: s.cfg.Valve(key, l.Per), limit: l.Limit, limitRev: l.rev, sent: now,
	}
	if until, ok := s.told[key]; ok {
		p.sent = until.Add(-usable(p.ttl))
	}
	p.valve.Allow(0, p.until())
	s.told[key] = p.until()
	s.pools[key] = p
	s.order = append(s.order, p)
}

// present writes what the node is and runs.
func (s *state) present(ctx context.Context) error {
	n := s.cfg.Snapshot().bounded()
	value, err := json.Marshal(n)
	if err != nil {
		return err
	}
	_, err = s.store.put(ctx, write{key: nodeKey(s.cfg.Node), value: value, ttl: s.cfg.TTL})
	if err != nil {
		return err
	}
	s.presentAt = time.Now().Add(s.cfg.TTL/3 - rand.N(s.cfg.TTL/30))
	return nil
}

// Terminate implements supervisor.Terminator. Once everything below has ended, permits and
// presence are given back; after a crash they stay, for the next life.
func (s *state) Terminate(reason error) {
	if !errors.Is(reason, supervisor.ErrShutdown) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	for _, p := range s.order {
		p.giveBack(ctx)
	}
	_, err := s.store.put(ctx, write{key: nodeKey(s.cfg.Node), remove: true, ttl: markerTTL})
	if err != nil {
		s.log.DebugContext(ctx, "presence expires by itself: it could not be removed", slog.Any("err", err))
	}
}
