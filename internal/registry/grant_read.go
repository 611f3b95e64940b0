package registry

import (
	"iter"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/stream"
)

// goneToken stands, in the view of a pool, for all nodes that are gone while what they held
// still counts.
const goneToken = "_gone"

// A survey is what a read of a pool says beside the others' grants.
type survey struct {
	last    uint64               // the newest revision, that of markers included
	limited bool                 // there is a limit
	mine    bool                 // our own grant is there
	ttl     time.Duration        // of that
	ends    map[string]time.Time // when the others' grants end unless they are refreshed, by our clock
}

// survey takes over what was read of the pool.
func (p *pool) survey(entries []stream.Entry) survey {
	s := survey{ends: make(map[string]time.Time)}
	p.others, p.gone, p.news = make(map[string]Grant), 0, true
	var ahead time.Duration // of our clock before the broker's, or a little less
	known := false
	clock := newestTime(slices.Values(entries))
	for _, e := range entries {
		s.last = max(s.last, e.Rev)
		last := lastToken(e.Key)
		switch {
		case e.Value == nil:
		case last == limitToken:
			s.limited = true
			p.surveyLimit(e)
		case last == p.node:
			s.mine, s.ttl = true, e.TTL
			if e.Rev == p.rev {
				ahead, known = p.sent.Sub(e.Time), true
			}
		default:
			g, ok := decodeGrant(e.Value)
			if !ok {
				continue // nobody of ours
			}
			gone := p.isGone(g, e, clock)
			if gone {
				p.gone += g.Held
			} else {
				p.others[last] = g
			}
			// Who needs some may be next. What is gone and too much to look at one by one is
			// looked at now and then.
			if (g.Held > 0 || g.Need > 0) && e.TTL > 0 && (!gone || p.ledger == nil) {
				s.ends[last] = e.Time.Add(e.TTL)
			}
		}
	}
	for id, end := range s.ends {
		s.ends[id] = end.Add(ahead)
	}
	if !known {
		s.ends = nil
	}
	return s
}

// surveyLimit takes over the limit that was read. One that cannot be read is the watch's to
// tell of; until then the last one known holds.
func (p *pool) surveyLimit(e stream.Entry) {
	l, ok := decodeLimitOf(p.key, e.Value)
	if !ok || e.Rev <= p.limitRev {
		return
	}
	if l.Per != p.limit.Per { // which comes by the watch only: until then, what suits both
		l.Jobs = min(l.Jobs, p.limit.Jobs)
	}
	p.limit.Jobs, p.limitRev = l.Jobs, e.Rev
}

// isGone reports whether the node of a grant of a rate has stopped or vanished, so that it wants
// nothing any more: it did not refresh it when that was due, by the broker's clock alone.
func (p *pool) isGone(g Grant, e stream.Entry, clock time.Time) bool {
	if !p.key.Rate || g.Held == 0 {
		return false
	}
	life := e.TTL - aging(p.limit.Per)
	if life < minTTL {
		life = p.ttl
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

// plan sets when to look for the permits of a node that is silent: nobody says when they
// are free.
func (p *pool) plan(s survey) {
	p.lookAt, p.readAt = time.Time{}, p.refreshAt
	if p.own.Held == 0 && len(p.others) >= crowd {
		p.readAt = time.Now().Add(p.ttl)
	}
	if p.lost || p.own.Want <= p.own.Held {
		return
	}
	now := time.Now()
	for _, end := range s.ends {
		at := end.Add(afterExpiry)
		if at.Before(now) {
			at = now.Add(lookAgain)
		}
		if at.Before(p.readAt) && (p.lookAt.IsZero() || at.Before(p.lookAt)) {
			p.lookAt = at
		}
	}
}
