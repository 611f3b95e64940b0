package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
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

// errUnreadable says that a setting is there and cannot be read.
var errUnreadable = errors.New("cannot be read")

// decodeLimit reads a limit.
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

const (
	setWithin = 5 * time.Second       // how long a setting is tried to be written
	setPause  = 50 * time.Millisecond // between two tries, up to twice that
)

// SetLimit sets the limit of a pool for all nodes, or removes it if it is of zero jobs. A
// limit that is so already is left alone. The error is about a rule that p or l breaks, or
// says that the broker did not answer.
func (s *Store) SetLimit(ctx context.Context, p PoolKey, l Limit) error {
	if err := errors.Join(p.check(), l.check(p)); err != nil {
		return err
	}
	// The condition covers all grants: one that was computed from the old limit must not
	// come after the new one, nor in the same moment.
	w := stream.Write{Key: p.limitKey(), On: p.all(), Value: encodeLimit(l)}
	if l.Jobs == 0 {
		w.Remove, w.Value = true, nil
	}
	return s.set(ctx, w)
}

// SetKey makes a type share the limits of a key, or none if that is empty.
func (s *Store) SetKey(ctx context.Context, typ, key string) error {
	if err := job.CheckType(typ); err != nil {
		return err
	}
	if key == "" {
		return s.set(ctx, stream.Write{Key: keyOf(typ), On: keyOf(typ), Remove: true})
	}
	if err := job.CheckKey(key); err != nil {
		return err
	}
	value, err := json.Marshal(keyValue{Key: key})
	if err != nil {
		return err
	}
	return s.set(ctx, stream.Write{Key: keyOf(typ), On: keyOf(typ), Value: value})
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
	return s.set(ctx, stream.Write{Key: pauseOf(queue), On: pauseOf(queue), Value: value})
}

// Resume ends a pause.
func (s *Store) Resume(ctx context.Context, queue string) error {
	if err := job.CheckQueue(queue); err != nil {
		return err
	}
	return s.set(ctx, stream.Write{Key: pauseOf(queue), On: pauseOf(queue), Remove: true})
}

// decodePause returns since when a queue is paused, the zero time if that cannot be read.
func decodePause(b []byte) (since time.Time, ok bool) {
	var v pauseValue
	err := json.Unmarshal(b, &v)
	return v.Since, err == nil
}

// Paused returns the paused queues and since when they are: the zero time where that cannot
// be read.
func (s *Store) Paused(ctx context.Context) (map[string]time.Time, error) {
	entries, err := s.readOpen(ctx, pauseKeys+".*")
	if err != nil {
		return nil, err
	}
	paused := make(map[string]time.Time)
	for _, e := range entries {
		if e.Value != nil {
			paused[lastToken(e.Key)], _ = decodePause(e.Value)
		}
	}
	return paused, nil
}

// set writes w unless it is there already, under its condition, until that holds. It tries
// again while others write or the broker does not answer; a refusal it returns at once.
func (s *Store) set(ctx context.Context, w stream.Write) error {
	ctx, cancel := context.WithTimeout(ctx, setWithin)
	defer cancel()
	if _, err := s.bucket.Open(ctx); err != nil {
		return err
	}
	for {
		err := s.setOnce(ctx, w)
		if err == nil || stream.IsRefusal(err) {
			return err
		}
		if stream.Sleep(ctx, setPause+rand.N(setPause)) != nil {
			return err
		}
	}
}

// setOnce reads what it is to write and the newest revision of its condition, and nothing
// else: who has grants of a limit, and how many have, does not matter for changing it.
func (s *Store) setOnce(ctx context.Context, w stream.Write) error {
	there, err := s.bucket.Get(ctx, w.Key)
	switch {
	case errors.Is(err, stream.ErrNotFound):
		if w.Remove {
			return nil
		}
	case err != nil:
		return err
	case string(there.Value) == string(w.Value) && !w.Remove, isPause(w.Key) && !w.Remove:
		return nil
	}
	last, err := s.bucket.Last(ctx, w.On)
	if err != nil && !errors.Is(err, stream.ErrNotFound) {
		return err
	}
	w.Rev = last.Rev
	_, err = s.bucket.Put(ctx, w)
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

// Pools returns all limits, sorted by kind and name. One that cannot be read is of zero jobs.
func (s *Store) Pools(ctx context.Context) ([]Pool, error) {
	entries, err := s.readOpen(ctx, keyKeys+".*", grantKeys+".>", rateKeys+".>")
	if err != nil {
		return nil, err
	}
	limits, shares, types := make(map[PoolKey]Limit), make(map[PoolKey][]Share), make(map[string][]string)
	for _, e := range entries {
		if typ, key, ok := parseKey(e); ok {
			types[key] = append(types[key], typ)
		}
		p, last, ok := parsePool(e.Key)
		switch {
		case !ok || e.Value == nil:
		case last == limitToken:
			l, readable := decodeLimitOf(p, e.Value)
			if !readable {
				l = Limit{}
			}
			limits[p] = l
		default:
			if g, ok := decodeGrant(e.Value); ok {
				shares[p] = append(shares[p], Share{Node: last, Grant: g})
			}
		}
	}
	pools := make([]Pool, 0, len(limits))
	for key, l := range limits {
		p := Pool{PoolKey: key, Limit: l, Shares: sorted(shares[key])}
		if p.Kind == OfKey {
			p.Types = slices.Sorted(slices.Values(types[p.Name]))
		}
		pools = append(pools, p)
	}
	slices.SortFunc(pools, func(a, b Pool) int {
		return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Limit.Per, b.Limit.Per), cmp.Compare(a.prefix(), b.prefix()))
	})
	return pools, nil
}

// fill reads who has what of a pool.
func (s *Store) fill(ctx context.Context, p *Pool) error {
	entries, _, err := s.bucket.Read(ctx, p.all())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if node := lastToken(e.Key); node != limitToken && e.Value != nil {
			if g, ok := decodeGrant(e.Value); ok {
				p.Shares = append(p.Shares, Share{Node: node, Grant: g})
			}
		}
	}
	p.Shares = sorted(p.Shares)
	return nil
}

func sorted(shares []Share) []Share {
	slices.SortFunc(shares, func(a, b Share) int { return cmp.Compare(a.Node, b.Node) })
	return shares
}

// decodeGrant reads a grant; false if it is nobody's of ours.
func decodeGrant(b []byte) (g Grant, ok bool) {
	err := json.Unmarshal(b, &g)
	g.Held = max(g.Held, 0)
	return g, err == nil
}

// Limit returns the limit of one pool; false if it has none.
func (s *Store) Limit(ctx context.Context, p PoolKey) (Limit, bool, error) {
	if err := p.check(); err != nil {
		return Limit{}, false, err
	}
	e, err := s.bucket.Get(ctx, p.limitKey())
	switch {
	case errors.Is(err, stream.ErrNotFound):
		return Limit{}, false, nil
	case err != nil:
		return Limit{}, false, err
	}
	l, ok := decodeLimitOf(p, e.Value)
	if !ok {
		return Limit{}, false, fmt.Errorf("limit of %s (key %s of bucket %s): %q %w; set it anew, or remove it", p, e.Key, s.bucket.Name(), e.Value, errUnreadable)
	}
	return l, true, nil
}

// readOpen is read for those who may come first.
func (s *Store) readOpen(ctx context.Context, filters ...string) ([]stream.Entry, error) {
	if _, err := s.bucket.Open(ctx); err != nil {
		return nil, err
	}
	entries, _, err := s.bucket.Read(ctx, filters...)
	return entries, err
}

// parseKey reads a type and its key from an entry.
func parseKey(e stream.Entry) (typ, key string, ok bool) {
	typ, ok = strings.CutPrefix(e.Key, keyKeys+".")
	var v keyValue
	if !ok || e.Value == nil || json.Unmarshal(e.Value, &v) != nil {
		return "", "", false
	}
	return typ, v.Key, job.CheckKey(v.Key) == nil
}

func lastToken(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
