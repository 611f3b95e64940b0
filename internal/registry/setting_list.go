package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// A Pool is a limit and who has what of it.
type Pool struct {
	slots.Key
	Limit  Limit
	Source Source
	Set    time.Time // by the broker's clock
	Shares []Share   // sorted by node
	Types  []string  // of a key: who share it, sorted
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
	limits, shares, types := make(map[slots.Key]Pool), make(map[slots.Key][]Share), make(map[string][]string)
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
			limits[p] = Pool{Key: p, Limit: l, Source: sourceOf(e.Value), Set: e.Time.UTC()}
		default:
			if g, ok := decodeGrant(e.Value); ok {
				shares[p] = append(shares[p], Share{Node: last, Grant: g})
			}
		}
	}
	pools := make([]Pool, 0, len(limits))
	for key, p := range limits {
		p.Shares = sorted(shares[key])
		if p.Kind == slots.OfKey {
			p.Types = slices.Sorted(slices.Values(types[p.Name]))
		}
		pools = append(pools, p)
	}
	slices.SortFunc(pools, func(a, b Pool) int {
		return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Limit.Per, b.Limit.Per), cmp.Compare(prefix(a.Key), prefix(b.Key)))
	})
	return pools, nil
}

// fill reads who has what of a pool.
func (s *Store) fill(ctx context.Context, p *Pool) error {
	entries, _, err := s.bucket.Read(ctx, grantsOf(p.Key))
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
func (s *Store) Limit(ctx context.Context, p slots.Key) (Limit, bool, error) {
	if err := p.Check(); err != nil {
		return Limit{}, false, err
	}
	e, err := s.bucket.Get(ctx, limitKey(p))
	switch {
	case errors.Is(err, stream.ErrNotFound):
		return Limit{}, false, nil
	case err != nil:
		return Limit{}, false, err
	}
	l, ok := decodeLimitOf(p, e.Value)
	if !ok {
		return Limit{}, false, fmt.Errorf("limit of %s (key %s of bucket %s): %q %w; set it again, or remove it", p, e.Key, s.bucket.Name(), e.Value, errUnreadable)
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
