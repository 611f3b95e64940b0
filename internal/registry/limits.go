package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// limitValue is a limit as the bucket has it.
type limitValue struct {
	Limit int    `json:"limit"`
	Per   string `json:"per,omitempty"`
}

type keyValue struct {
	Key string `json:"key"`
}

type pauseValue struct {
	Since time.Time `json:"since"`
}

func encodeLimit(l Limit) []byte {
	v := limitValue{Limit: l.Jobs}
	if l.Per > 0 {
		v.Per = l.Per.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a number and a string
	}
	return b
}

// decodeLimit reads a limit; one that cannot be is none.
func decodeLimit(b []byte) (l Limit, ok bool) {
	var v limitValue
	if json.Unmarshal(b, &v) != nil || v.Limit <= 0 {
		return Limit{}, false
	}
	l.Jobs = v.Limit
	if v.Per != "" {
		per, err := time.ParseDuration(v.Per)
		if err != nil {
			return Limit{}, false
		}
		l.Per = per
	}
	return l, true
}

// decodeLimitOf is decodeLimit for a pool that it has to fit.
func decodeLimitOf(p PoolKey, b []byte) (Limit, bool) {
	l, ok := decodeLimit(b)
	return l, ok && l.check(p) == nil
}

const setWithin = 5 * time.Second // how long a setting is tried to be written

// SetLimit sets the limit of a pool for all nodes, or removes it if it is of zero jobs. A
// limit that is so already is left alone. The error is about a rule that p or l breaks, or
// says that the broker did not answer.
func (s *Store) SetLimit(ctx context.Context, p PoolKey, l Limit) error {
	if err := errors.Join(p.check(), l.check(p)); err != nil {
		return err
	}
	// The condition covers all grants: one that was computed from the old limit must not
	// come after the new one, nor in the same moment.
	w := write{key: p.limitKey(), on: p.all(), value: encodeLimit(l)}
	if l.Jobs == 0 {
		w.remove, w.value = true, nil
	}
	return s.set(ctx, w)
}

// SetKey makes a type share the limits of a key, or none if that is empty.
func (s *Store) SetKey(ctx context.Context, typ, key string) error {
	if err := job.CheckType(typ); err != nil {
		return err
	}
	if key == "" {
		return s.set(ctx, write{key: keyOf(typ), on: keyOf(typ), remove: true})
	}
	if err := job.CheckKey(key); err != nil {
		return err
	}
	value, err := json.Marshal(keyValue{Key: key})
	if err != nil {
		return err
	}
	return s.set(ctx, write{key: keyOf(typ), on: keyOf(typ), value: value})
}

// Pause keeps all nodes from taking jobs of a queue, until Resume. What runs goes on.
func (s *Store) Pause(ctx context.Context, queue string) error {
	if err := job.CheckQueue(queue); err != nil {
		return err
	}
	value, err := json.Marshal(pauseValue{Since: time.Now().UTC()})
	if err != nil {
		return err
	}
	return s.set(ctx, write{key: pauseOf(queue), on: pauseOf(queue), value: value})
}

// Resume ends a pause.
func (s *Store) Resume(ctx context.Context, queue string) error {
	if err := job.CheckQueue(queue); err != nil {
		return err
	}
	return s.set(ctx, write{key: pauseOf(queue), on: pauseOf(queue), remove: true})
}

// Paused returns the paused queues and since when they are.
func (s *Store) Paused(ctx context.Context) (map[string]time.Time, error) {
	entries, err := s.readOpen(ctx, pauseKeys+".*")
	if err != nil {
		return nil, err
	}
	paused := make(map[string]time.Time)
	for _, e := range entries {
		var v pauseValue
		if e.Value != nil && json.Unmarshal(e.Value, &v) == nil {
			paused[lastToken(e.Key)] = v.Since
		}
	}
	return paused, nil
}

// set writes w unless it is there already, under its condition, until that holds.
func (s *Store) set(ctx context.Context, w write) error {
	ctx, cancel := context.WithTimeout(ctx, setWithin)
	defer cancel()
	if _, err := s.ensure(ctx); err != nil {
		return err
	}
	for {
		err := s.setOnce(ctx, w)
		if err == nil {
			return nil
		}
		if sleep(ctx, followPause/4+rand.N(followPause/4)) != nil {
			return err
		}
	}
}

func (s *Store) setOnce(ctx context.Context, w write) error {
	entries, _, err := s.read(ctx, w.on)
	if err != nil {
		return err
	}
	there := false
	for _, e := range entries {
		w.rev = max(w.rev, e.Rev)
		if e.Key != w.key || e.Value == nil {
			continue
		}
		there = true
		if string(e.Value) == string(w.value) || isPause(w.key) && !w.remove {
			return nil
		}
	}
	if w.remove && !there {
		return nil
	}
	_, err = s.put(ctx, w)
	return err
}

func isPause(key string) bool { return strings.HasPrefix(key, pauseKeys+".") }

// A Pool is a limit and who has what of it.
type Pool struct {
	PoolKey
	Limit  Limit
	Shares []Share  // sorted by node
	Types  []string // of a key: who share it, sorted
}

// A Share is a node's grant.
type Share struct {
	Node string
	Grant
}

// Pools returns all limits, sorted by kind and name.
func (s *Store) Pools(ctx context.Context) ([]Pool, error) {
	entries, err := s.readOpen(ctx, settings()...)
	if err != nil {
		return nil, err
	}
	var pools []Pool
	types := make(map[string][]string)
	for _, e := range entries {
		if typ, key, ok := parseKey(e); ok {
			types[key] = append(types[key], typ)
		}
		p, last, ok := parsePool(e.Key)
		if !ok || last != limitToken || e.Value == nil {
			continue
		}
		if l, ok := decodeLimitOf(p, e.Value); ok {
			pools = append(pools, Pool{PoolKey: p, Limit: l})
		}
	}
	for i := range pools {
		if err := s.fill(ctx, &pools[i]); err != nil {
			return nil, err
		}
		if pools[i].Kind == OfKey {
			pools[i].Types = slices.Sorted(slices.Values(types[pools[i].Name]))
		}
	}
	slices.SortFunc(pools, func(a, b Pool) int {
		return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Limit.Per, b.Limit.Per))
	})
	return pools, nil
}

func (s *Store) fill(ctx context.Context, p *Pool) error {
	entries, _, err := s.read(ctx, p.all())
	if err != nil {
		return err
	}
	for _, e := range entries {
		var g Grant
		if node := lastToken(e.Key); node != limitToken && e.Value != nil && json.Unmarshal(e.Value, &g) == nil {
			p.Shares = append(p.Shares, Share{Node: node, Grant: g})
		}
	}
	slices.SortFunc(p.Shares, func(a, b Share) int { return cmp.Compare(a.Node, b.Node) })
	return nil
}

// Limit returns the limit of one pool; false if it has none.
func (s *Store) Limit(ctx context.Context, p PoolKey) (Limit, bool, error) {
	if err := p.check(); err != nil {
		return Limit{}, false, err
	}
	e, err := s.leaderRead(ctx, p.limitKey())
	if errors.Is(err, errNotFound) {
		return Limit{}, false, nil
	}
	l, ok := decodeLimitOf(p, e.Value)
	return l, ok, err
}

// readOpen is read for those who may come first.
func (s *Store) readOpen(ctx context.Context, filters ...string) ([]entry, error) {
	if _, err := s.ensure(ctx); err != nil {
		return nil, err
	}
	entries, _, err := s.read(ctx, filters...)
	return entries, err
}

// parseKey reads a type and its key from an entry.
func parseKey(e entry) (typ, key string, ok bool) {
	typ, ok = strings.CutPrefix(e.Key, keyKeys+".")
	var v keyValue
	if !ok || e.Value == nil || json.Unmarshal(e.Value, &v) != nil {
		return "", "", false
	}
	return typ, v.Key, job.CheckKey(v.Key) == nil
}

func lastToken(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
