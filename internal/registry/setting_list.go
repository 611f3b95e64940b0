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

// A Usage is a limit and who has what of it.
type Usage struct {
	slots.Key
	Limit  Limit
	Source Source
	By     string      // the person who set it, if that is known
	Set    time.Time   // by the broker's clock
	Grants []NodeGrant // sorted by node
	Types  []string    // of a key: who share it, sorted
}

// A NodeGrant is a node's grant.
type NodeGrant struct {
	Node string
	Grant
	Ends time.Time // when it is gone unless it is written again, by the broker's clock; zero: not known
}

// Usages returns all limits, sorted by kind and name. One that cannot be read is of zero jobs.
func (s *Store) Usages(ctx context.Context) ([]Usage, error) {
	entries, err := s.peek(ctx, keyKeys+".*", grantKeys+".>", rateKeys+".>")
	if err != nil {
		return nil, err
	}
	return usagesOf(entries), nil
}

// usagesOf reads all limits from entries, among which may be others.
func usagesOf(entries []stream.Entry) []Usage {
	usages, grants, types := make(map[slots.Key]Usage), make(map[slots.Key][]NodeGrant), make(map[string][]string)
	for _, e := range entries {
		if typ, key, ok := parseKey(e); ok {
			types[key] = append(types[key], typ)
		}
		k, last, ok := parseGrantKey(e.Key)
		switch {
		case !ok || e.Value == nil:
		case last == limitToken:
			l, readable := decodeLimitOf(k, e.Value)
			if !readable {
				l = Limit{}
			}
			usages[k] = Usage{Key: k, Limit: l, Source: sourceOf(e.Value), By: setterOf(e.Value), Set: e.Time.UTC()}
		default:
			if g, ok := decodeGrant(e.Value); ok {
				held := NodeGrant{Node: last, Grant: g}
				if e.TTL > 0 {
					held.Ends = e.Time.UTC().Add(e.TTL)
				}
				grants[k] = append(grants[k], held)
			}
		}
	}
	all := make([]Usage, 0, len(usages))
	for k, u := range usages {
		u.Grants = grants[k]
		slices.SortFunc(u.Grants, func(a, b NodeGrant) int { return cmp.Compare(a.Node, b.Node) })
		if k.Kind == slots.OfKey {
			u.Types = slices.Sorted(slices.Values(types[k.Name]))
		}
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b Usage) int {
		return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Limit.Per, b.Limit.Per), cmp.Compare(prefix(a.Key), prefix(b.Key)))
	})
	return all
}

// decodeGrant reads a grant; false if it is nobody's of ours.
func decodeGrant(b []byte) (g Grant, ok bool) {
	err := json.Unmarshal(b, &g)
	g.Held = max(g.Held, 0)
	return g, err == nil
}

// Limit returns the limit of one key; false if it has none.
func (s *Store) Limit(ctx context.Context, k slots.Key) (Limit, bool, error) {
	if err := k.Check(); err != nil {
		return Limit{}, false, err
	}
	e, err := s.bucket.Get(ctx, limitKey(k))
	switch {
	case errors.Is(err, stream.ErrNotFound):
		return Limit{}, false, nil
	case err != nil:
		return Limit{}, false, err
	}
	l, ok := decodeLimitOf(k, e.Value)
	if !ok {
		return Limit{}, false, fmt.Errorf("limit of %s (key %s of bucket %s): %q %w; set it again, or remove it", k, e.Key, s.bucket.Name(), e.Value, errUnreadable)
	}
	return l, true, nil
}

// peek reads for those who only look: of a namespace without a registry there is nothing.
func (s *Store) peek(ctx context.Context, filters ...string) ([]stream.Entry, error) {
	entries, err := s.bucket.Peek(ctx, filters...)
	if errors.Is(err, stream.ErrNotFound) {
		return nil, nil
	}
	return entries, err
}
