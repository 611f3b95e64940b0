package registry

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/stream"
)

// A ledger is what was read of a limit that has more grants than fit into one answer of the
// broker: mostly of nodes that are gone, whose starts under a rate still count. It is read once,
// and from then on only what was written since, so that a refresh does not cost what nodes left
// behind. What expired meanwhile counts until all is read again, which errs to the safe side.
type ledger struct {
	entries map[string]stream.Entry
	last    uint64    // the newest revision that was read
	whole   time.Time // when all of it was read
	refused bool      // a write that was computed from it was
}

// readEntries returns the limit and its grants, as they are or a little behind.
func (h *holder) readEntries(ctx context.Context) ([]stream.Entry, error) {
	if h.ledger == nil {
		entries, _, err := h.store.bucket.ReadAtOnce(ctx, grantsOf(h.key))
		if !errors.Is(err, stream.ErrTooMany) {
			return entries, err
		}
		h.ledger = &ledger{}
	}
	l := h.ledger
	if !h.stale(time.Now()) {
		found, _, err := h.store.bucket.ReadPages(ctx, grantsOf(h.key), l.last+1)
		if err != nil {
			return nil, err
		}
		l.take(found)
		if len(found) > 0 || !l.refused {
			l.refused = false
			return slices.Collect(maps.Values(l.entries)), nil
		}
	}
	found, _, err := h.store.bucket.ReadPages(ctx, grantsOf(h.key), 1)
	if err != nil {
		return nil, err
	}
	*l = ledger{entries: make(map[string]stream.Entry, len(found)), whole: time.Now()}
	l.take(found)
	if len(found) <= stream.PageSize {
		h.ledger = nil
	}
	return found, nil
}

func (l *ledger) take(found []stream.Entry) {
	for _, e := range found {
		l.entries[e.Key] = e
		l.last = max(l.last, e.Rev)
	}
}

// stale reports whether the ledger is to be read again: it never was, or something in it has
// expired by now.
func (h *holder) stale(now time.Time) bool {
	l := h.ledger
	if l.whole.IsZero() {
		return true
	}
	if now.Sub(l.whole) < h.ttl/2 {
		return false
	}
	clock := newestTime(maps.Values(l.entries))
	for _, e := range l.entries {
		if e.TTL > 0 && e.Time.Add(e.TTL+afterExpiry).Before(clock) {
			return true
		}
	}
	return false
}
