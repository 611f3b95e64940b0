package registry

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/stream"
)

// goneToken stands, in a holder's view, for all nodes that are gone while what they held still
// counts.
const goneToken = "_gone"

// A reading is what a read of the grants says besides what the others hold.
type reading struct {
	newest  uint64               // revision, that of markers included
	limited bool                 // there is a limit
	mine    bool                 // our own grant is there
	ttl     time.Duration        // of that
	ends    map[string]time.Time // when the others' grants end unless they are refreshed, by our clock; nil if that is not known
}

// readGrants reads the limit and its grants, as they are or a little behind, and takes over what
// the others hold.
func (h *holder) readGrants(ctx context.Context) (reading, error) {
	entries, err := h.readEntries(ctx)
	if err != nil {
		return reading{}, err
	}
	return h.interpret(entries), nil
}

// interpret takes over what was read.
func (h *holder) interpret(entries []stream.Entry) reading {
	r := reading{ends: make(map[string]time.Time)}
	h.others, h.gone, h.news = make(map[string]Grant), 0, true
	var ahead time.Duration // of our clock before the broker's, or a little less
	known := false
	clock := newestTime(slices.Values(entries))
	for _, e := range entries {
		r.newest = max(r.newest, e.Rev)
		switch last := lastToken(e.Key); {
		case e.Value == nil:
		case last == limitToken:
			r.limited = true
			h.interpretLimit(e)
		case last == h.node:
			r.mine, r.ttl = true, e.TTL
			if e.Rev == h.rev {
				ahead, known = h.since.Sub(e.Time), true
			}
		default:
			h.interpretOther(&r, last, e, clock)
		}
	}
	if !known {
		r.ends = nil
	}
	for node, end := range r.ends {
		r.ends[node] = end.Add(ahead)
	}
	return r
}

// interpretOther takes over the grant of another node, as the broker's clock stands.
func (h *holder) interpretOther(r *reading, node string, e stream.Entry, clock time.Time) {
	g, ok := decodeGrant(e.Value)
	if !ok {
		return // nobody of ours
	}
	gone := h.isGone(g, e, clock)
	if gone {
		h.gone += g.Held
	} else {
		h.others[node] = g
	}
	// Who needs some may be next. What is gone and too much to look at one by one is
	// looked at now and then.
	if (g.Held > 0 || g.Need > 0) && e.TTL > 0 && (!gone || h.ledger == nil) {
		r.ends[node] = e.Time.Add(e.TTL)
	}
}

// interpretLimit takes over the limit that was read. One that cannot be read is the watch's to
// tell of; until then the last one known holds.
func (h *holder) interpretLimit(e stream.Entry) {
	l, ok := decodeLimitOf(h.key, e.Value)
	if !ok || e.Rev <= h.limit.rev {
		return
	}
	if l.Per != h.limit.Per { // which comes by the watch only: until then, what suits both
		l.Jobs = min(l.Jobs, h.limit.Jobs)
	}
	h.limit.Jobs, h.limit.rev = l.Jobs, e.Rev
}

// isGone reports whether the node of a grant of a rate has stopped or vanished, so that it wants
// nothing any more: it did not refresh it when that was due, by the broker's clock alone.
func (h *holder) isGone(g Grant, e stream.Entry, clock time.Time) bool {
	if !h.key.Rate || g.Held == 0 {
		return false
	}
	life := e.TTL - aging(h.limit.Per)
	if life < minTTL {
		life = h.ttl
	}
	return clock.Sub(e.Time) > life
}

// newestTime returns when the newest entry was written: the broker's time, or a little before.
func newestTime(entries iter.Seq[stream.Entry]) (newest time.Time) {
	for e := range entries {
		if e.Time.After(newest) {
			newest = e.Time
		}
	}
	return newest
}

// planPolls sets when to look for the permits of a node that is silent: nobody says when they
// are free.
func (h *holder) planPolls(r reading) {
	h.pollAt, h.readAt = time.Time{}, h.refreshAt
	if h.own.Held == 0 && len(h.others) >= crowd {
		h.readAt = time.Now().Add(h.ttl)
	}
	if h.state == grantLost || h.own.Want <= h.own.Held {
		return
	}
	now := time.Now()
	for _, end := range r.ends {
		at := end.Add(afterExpiry)
		if at.Before(now) {
			at = now.Add(pollAgain)
		}
		if at.Before(h.readAt) && (h.pollAt.IsZero() || at.Before(h.pollAt)) {
			h.pollAt = at
		}
	}
}
