package registry

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// A knownLimit is a limit as it was last read.
type knownLimit struct {
	Limit
	rev    uint64
	closed bool // it cannot be read, and was never known: nothing may start
}

// apply takes over a setting.
func (s *state) apply(ctx context.Context, e stream.Entry) {
	if k, last, ok := parseGrantKey(e.Key); ok && last == limitToken {
		s.applyLimit(k, e)
		s.offer(settingOf(k), e)
	}
	if typ, ok := strings.CutPrefix(e.Key, keyKeys+"."); ok {
		if slices.Contains(s.cfg.Types, typ) {
			s.applyKey(typ, e)
		}
		s.offer(keySetting(typ), e)
	}
	if queue, typ, ok := parsePauseKey(e.Key); ok && slices.Contains(s.cfg.Queues, queue) {
		s.applyPause(queue, typ, e)
	}
	if queue, ok := strings.CutPrefix(e.Key, flowKeys+"."); ok && e.Value != nil && slices.Contains(s.cfg.Queues, queue) && s.cfg.Workflows != nil {
		s.cfg.Workflows(queue)
	}
	if e.Key == drainKey(s.cfg.Node) {
		s.applyDrain(e)
	}
	if s.known {
		s.reconcile(ctx)
		s.soon()
	}
}

// settings returns what the configuration says, nil for what it removes.
func (c *AgentConfig) settings() map[setting][]byte {
	says := make(map[setting][]byte)
	for k, l := range c.Limits {
		says[settingOf(k)] = encodeLimit(l, ByConfig, "")
	}
	for typ, key := range c.Keys {
		says[keySetting(typ)] = encodeKey(key, ByConfig)
	}
	return says
}

// offer notes that a setting was handed back, or is not any more, if the configuration names it.
func (s *state) offer(what setting, e stream.Entry) {
	value, configured := s.config[what]
	if configured && e.Value != nil && sourceOf(e.Value) == HandedBack {
		s.offered[what] = value
	} else {
		delete(s.offered, what)
	}
}

// takeBack writes what the configuration says of the settings that were handed back. What fails
// stays for the next round.
func (s *state) takeBack(ctx context.Context) error {
	for what, value := range s.offered {
		if err := s.store.setOnce(ctx, what, takenBack(value)); err != nil {
			return err
		}
		delete(s.offered, what)
	}
	return nil
}

// applyPause takes over a pause. One that cannot be read holds: to pause in vain can be mended.
func (s *state) applyPause(queue, typ string, e stream.Entry) {
	if _, ok := decodePause(e.Value); e.Value != nil && !ok {
		s.log.Error("a pause cannot be read: resume what it is of, or write or remove its key", slog.String("effect", "it is paused"),
			slog.String("bucket", s.store.bucket.Name()), slog.String("key", e.Key), slog.String("value", string(e.Value)), slog.String("want", `{"since":"2026-11-22T10:00:00Z"}`))
	}
	switch {
	case e.Value != nil && typ == "":
		s.log.Info("queue paused", slog.String("queue", queue))
	case e.Value != nil:
		s.log.Info("type paused", slog.String("queue", queue), slog.String("type", typ))
	}
	s.cfg.Slots.Pause(queue, typ, e.Value != nil)
}

func (s *state) applyLimit(k slots.Key, e stream.Entry) {
	if e.Value == nil {
		delete(s.limits, k)
		return
	}
	limit, ok := decodeLimitOf(k, e.Value)
	if ok {
		s.limits[k] = knownLimit{Limit: limit, rev: e.Rev}
		return
	}
	known, before := s.limits[k]
	if !before {
		known.closed = true
	}
	known.rev = e.Rev
	s.limits[k] = known
	effect := "the last one known holds"
	if known.closed {
		effect = "no job of it starts"
	}
	s.log.Error("a limit cannot be read: set it again with SetQuota, or write or remove its key", slog.String("effect", effect),
		slog.String("bucket", s.store.bucket.Name()), slog.String("key", e.Key), slog.String("value", string(e.Value)), slog.String("want", example(k)))
}

// example is what a limit of k looks like.
func example(k slots.Key) string {
	if k.Rate {
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

// reconcile takes up the limits that concern the node, drops those that do not any more, and hands
// changed ones to their holders.
func (s *state) reconcile(ctx context.Context) {
	for key, h := range s.holders {
		if _, limited := s.limits[key]; !limited || !s.serves(key) {
			s.drop(ctx, h)
		}
	}
	now := time.Now()
	for key, l := range s.limits {
		h := s.holders[key]
		switch {
		case !s.serves(key):
		case h == nil:
			s.takeUp(ctx, now, key, l)
		case l.closed != h.limit.closed || l.Limit != h.limit.Limit || l.rev > h.limit.rev:
			if l.Per != h.limit.Per {
				h.limiter = s.cfg.Slots.Limiter(key, l.Per)
			}
			if l.closed != h.limit.closed || l.Limit != h.limit.Limit {
				s.logLimit(ctx, key, l.Limit)
			}
			h.changeLimit(now, l)
		}
	}
}

// drop ends a limit for the node. Its grant is removed in the next round.
func (s *state) drop(ctx context.Context, h *holder) {
	s.log.InfoContext(ctx, "limit lifted", slog.String("pool", h.key.String()), slog.Bool("rate", h.key.Rate))
	h.limiter.Lift()
	if !h.limit.closed { // else it has written nothing
		s.left = append(s.left, h)
	}
	delete(s.holders, h.key)
	delete(s.toldUntil, h.key)
	s.order = slices.DeleteFunc(s.order, func(o *holder) bool { return o == h })
}

// takeUp begins with no permit. What runs already, if anything, may go on for as long as a
// grant lasts, but for no longer than the limiter was told before the server crashed.
func (s *state) takeUp(ctx context.Context, now time.Time, key slots.Key, l knownLimit) {
	s.logLimit(ctx, key, l.Limit)
	h := &holder{
		key: key, node: s.cfg.Node, ttl: s.cfg.TTL, store: s.store, log: s.log,
		limiter: s.cfg.Slots.Limiter(key, l.Per), limit: l,
	}
	since := now
	if until, ok := s.toldUntil[key]; ok {
		since = until.Add(-usable(h.ttl))
	}
	h.becomeNone(since)
	s.toldUntil[key] = h.until()
	s.holders[key] = h
	s.order = append(s.order, h)
}

func (s *state) logLimit(ctx context.Context, key slots.Key, l Limit) {
	attrs := []any{slog.String("pool", key.String()), slog.Int("jobs", l.Jobs)}
	if l.Per > 0 {
		attrs = append(attrs, slog.Duration("per", l.Per))
	}
	s.log.InfoContext(ctx, "limit", attrs...)
}
