package registry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
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

	limits map[slots.Key]knownLimit // all there are
	keys   map[string]string        // by type
	pools  map[slots.Key]*pool      // that concern this node
	order  []*pool                  // of them, whose turn it is first
	left   []*pool                  // whose limit is gone: their grants are to be removed
	takes  map[setting][]byte       // what was handed back to configurations, and this node's is to be written

	known     bool          // all settings were read once
	presentAt time.Time     // when presence is to be written again
	absent    time.Duration // pause after a presence that could not be written
	silent    time.Time     // the broker is not asked before
	acted     chan struct{} // closed once what is due at the start was tried
}

// A knownLimit is a limit as it was last read.
type knownLimit struct {
	Limit
	rev    uint64
	closed bool // it cannot be read, and was never known: nothing may start
}

// Handle implements supervisor.Handler.
func (s *state) Handle(ctx context.Context, msg message) error {
	switch m := msg.(type) {
	case tick:
		s.tick(ctx)
	case changed:
		s.apply(ctx, m.Entry)
	case hinted:
		if p := s.pools[m.pool]; p != nil {
			p.hinted(m.hint)
		}
	case synced:
		// The callers' patience has an end, so nothing is asked of the broker here. The limiters
		// of all limits are known and shut when they go on.
		s.known = true
		s.reconcile(ctx)
		s.soon()
		m.reply.Send(s.acted)
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
		select {
		case <-s.acted:
		default:
			close(s.acted)
		}
	}
	s.next()
}

// soon has a tick at once.
func (s *state) soon() {
	s.cancel()
	s.cancel = s.self.After(0, tick{})
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

// turnPatience bounds a turn, so that the agent hears what it is told.
const turnPatience = 3 * time.Second

// turn gives every pool its turn, all at once, and writes presence when that is due: how many
// limits there are, and how far away the broker is, must not add up. Once the broker is found
// silent, nothing more is asked of it, and who was left out is first the next time.
func (s *state) turn(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	each(s.left, func(p *pool) { p.remove(ctx) }) // before a pool of the same key writes anything
	s.left = nil
	s.takeBack(ctx)

	var silent atomic.Bool
	var due []*turn
	for _, p := range s.order {
		if do := p.consider(now); do != nil {
			due = append(due, &turn{pool: p, do: do})
		} else {
			s.told[p.key] = p.until()
		}
	}
	var presence *turn
	if !now.Before(s.presentAt) {
		presence = &turn{do: s.present}
		due = append(due, presence)
	}
	each(due, func(t *turn) {
		if silent.Load() {
			return
		}
		t.had, t.err = true, t.do(ctx)
		if isSilence(t.err) {
			silent.Store(true)
		}
	})
	if presence != nil {
		s.wrotePresence(ctx, presence)
	}
	for _, t := range due {
		if t.pool != nil && t.had {
			t.pool.answered(t.err)
			s.told[t.pool.key] = t.pool.until()
		}
	}
	if silent.Load() {
		s.silent = time.Now().Add(silence)
		s.order = leftOutFirst(s.order, due)
	}
	s.reportPermits(ctx)
}

// A turn is what a pool, or presence if that is nil, asks of the broker.
type turn struct {
	pool *pool
	do   func(context.Context) error
	had  bool
	err  error
}

func leftOutFirst(order []*pool, due []*turn) []*pool {
	out := make(map[*pool]bool)
	for _, t := range due {
		out[t.pool] = !t.had
	}
	slices.SortStableFunc(order, func(a, b *pool) int {
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
	var first *pool
	for _, p := range s.order {
		if p.err == nil {
			continue
		}
		if failing++; first == nil || prefix(p.key) < prefix(first.key) {
			first = p
		}
	}
	if first == nil {
		s.troubles.ended(ctx, withPermits)
	} else if ctx.Err() == nil || isSilence(first.err) {
		s.troubles.has(ctx, withPermits, first.err, slog.String("first", prefix(first.key)), slog.Int("limits", failing))
	}
}

// apply takes over a setting.
func (s *state) apply(ctx context.Context, e stream.Entry) {
	if pool, last, ok := parsePool(e.Key); ok && last == limitToken {
		s.applyLimit(pool, e)
		s.offer(settingOf(pool), e, func() ([]byte, bool) { l, ok := s.cfg.Limits[pool]; return encodeLimit(l, ByConfig), ok })
	}
	if typ, ok := strings.CutPrefix(e.Key, keyKeys+"."); ok {
		if slices.Contains(s.cfg.Types, typ) {
			s.applyKey(typ, e)
		}
		s.offer(keySetting(typ), e, func() ([]byte, bool) { key, ok := s.cfg.Keys[typ]; return encodeKey(key, ByConfig), ok })
	}
	if queue, ok := strings.CutPrefix(e.Key, pauseKeys+"."); ok && slices.Contains(s.cfg.Queues, queue) {
		s.applyPause(queue, e)
	}
	if s.known {
		s.reconcile(ctx)
		s.soon()
	}
}

// offer notes that a setting was handed back, or is not any more, if the node's configuration has it.
func (s *state) offer(what setting, e stream.Entry, configured func() (value []byte, ok bool)) {
	delete(s.takes, what)
	if e.Value == nil || sourceOf(e.Value) != HandedBack {
		return
	}
	if value, ok := configured(); ok {
		s.takes[what] = value
	}
}

// takeBack writes this node's configuration of what was handed back, until it is written.
func (s *state) takeBack(ctx context.Context) {
	for what, value := range s.takes {
		if err := s.store.setOnce(ctx, what, takenBack(value)); err != nil {
			s.log.DebugContext(ctx, "tries again to write what was handed back", slog.String("key", what.key), slog.Any("err", err))
			return
		}
		delete(s.takes, what)
	}
}

// applyPause takes over a pause. One that cannot be read holds: to pause in vain can be mended.
func (s *state) applyPause(queue string, e stream.Entry) {
	if _, ok := decodePause(e.Value); e.Value != nil && !ok {
		s.log.Error("a pause cannot be read: resume the queue, or write or remove its key", slog.String("effect", "the queue is paused"),
			slog.String("bucket", s.store.bucket.Name()), slog.String("key", e.Key), slog.String("value", string(e.Value)), slog.String("want", `{"since":"2026-11-22T10:00:00Z"}`))
	}
	if e.Value != nil {
		s.log.Info("queue paused", slog.String("queue", queue))
	}
	s.cfg.Slots.Pause(queue, e.Value != nil)
}

func (s *state) applyLimit(pool slots.Key, e stream.Entry) {
	if e.Value == nil {
		delete(s.limits, pool)
		return
	}
	limit, ok := decodeLimitOf(pool, e.Value)
	if ok {
		s.limits[pool] = knownLimit{Limit: limit, rev: e.Rev}
		return
	}
	known, before := s.limits[pool]
	if !before {
		known.closed = true
	}
	known.rev = e.Rev
	s.limits[pool] = known
	effect := "the last one known holds"
	if known.closed {
		effect = "no job of it starts"
	}
	s.log.Error("a limit cannot be read: set it again with SetQuota, or write or remove its key", slog.String("effect", effect),
		slog.String("bucket", s.store.bucket.Name()), slog.String("key", e.Key), slog.String("value", string(e.Value)), slog.String("want", example(pool)))
}

// example is what a limit of the pool looks like.
func example(p slots.Key) string {
	if p.Rate {
		return `{"limit":100,"per":"1m0s"}`
	}
	return `{"limit":5}`
}

// brokenKey is in the place of the key of a type that has one which cannot be read.
const brokenKey = "_unreadable"

// applyKey takes over the key of a type. Of one that cannot be read the last one known holds; if
// none was known, no job of the type starts.
func (s *state) applyKey(typ string, e stream.Entry) {
	_, key, ok := parseKey(e)
	if e.Value != nil && !ok {
		effect := "the last one known holds"
		if s.keys[typ] == "" {
			effect, key = "no job of the type starts", brokenKey
			s.limits[slots.Key{Kind: slots.OfKey, Name: brokenKey}] = knownLimit{closed: true}
		} else {
			key = s.keys[typ]
		}
		s.log.Error("the key that a type shares limits by cannot be read: set it again with SetQuota, or write or remove it", slog.String("effect", effect),
			slog.String("bucket", s.store.bucket.Name()), slog.String("key", e.Key), slog.String("value", string(e.Value)), slog.String("want", `{"key":"NAME"}`))
	}
	delete(s.keys, typ)
	if key != "" {
		s.keys[typ] = key
	}
	s.cfg.Slots.SetKey(typ, key)
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
		p.limiter.Lift()
		if !p.closed { // else it has written nothing
			s.left = append(s.left, p)
		}
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
		case l.closed != p.closed || l.Limit != p.limit || l.rev > p.limitRev:
			p.closed = l.closed
			if l.Per != p.limit.Per {
				p.limiter = s.cfg.Slots.Limiter(key, l.Per)
			}
			s.logLimit(ctx, key, l.Limit)
			p.limited(now, l.Limit, l.rev)
		}
	}
}

func (s *state) logLimit(ctx context.Context, key slots.Key, l Limit) {
	attrs := []any{slog.String("pool", key.String()), slog.Int("jobs", l.Jobs)}
	if l.Per > 0 {
		attrs = append(attrs, slog.Duration("per", l.Per))
	}
	s.log.InfoContext(ctx, "limit", attrs...)
}

// join begins with no permit. What runs already, if anything, may go on for as long as a
// grant lasts, but for no longer than it was told before the server crashed.
func (s *state) join(ctx context.Context, now time.Time, key slots.Key, l knownLimit) {
	s.logLimit(ctx, key, l.Limit)
	p := &pool{
		key: key, node: s.cfg.Node, ttl: s.cfg.TTL, store: s.store, log: s.log,
		limiter: s.cfg.Slots.Limiter(key, l.Per), limit: l.Limit, limitRev: l.rev, closed: l.closed, sent: now,
	}
	if until, ok := s.told[key]; ok {
		p.sent = until.Add(-usable(p.ttl))
	}
	p.limiter.Allow(0, p.until())
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
	_, err = s.store.bucket.Put(ctx, stream.Write{Key: nodeKey(s.cfg.Node), Value: value, TTL: s.cfg.TTL})
	if err != nil && !errors.Is(err, context.Canceled) && s.cfg.Doubt != nil {
		s.cfg.Doubt()
	}
	return err
}

// wrotePresence plans when presence is written the next time. Nothing waits for it: a node that
// cannot say that it is there works all the same.
func (s *state) wrotePresence(ctx context.Context, t *turn) {
	switch {
	case !t.had: // the broker is silent
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

// Terminate implements supervisor.Terminator. Once everything below has ended, permits and
// presence are given back; after a crash they stay, for the next life.
func (s *state) Terminate(reason error) {
	if !errors.Is(reason, supervisor.ErrShutdown) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	each(append(s.order, s.left...), func(p *pool) { p.giveBack(ctx) })
	_, err := s.store.bucket.Put(ctx, stream.Write{Key: nodeKey(s.cfg.Node), Remove: true, TTL: stream.MarkerTTL})
	if err != nil {
		s.log.DebugContext(ctx, "presence expires by itself: it could not be removed", slog.Any("err", err))
	}
}
