package registry

import (
	"encoding/json"
	"strings"
	"time"
)

// A survey is what a read of a pool says beside the others' grants.
type survey struct {
	last    uint64               // the newest revision, that of markers included
	limited bool                 // there is a limit
	mine    bool                 // our own grant is there
	ttl     time.Duration        // of that
	ends    map[string]time.Time // when the others' grants end unless they are refreshed, by our clock
}

// survey takes over what was read of the pool.
func (p *pool) survey(entries []entry) survey {
	s := survey{ends: make(map[string]time.Time)}
	p.others = make(map[string]Grant)
	var ahead time.Duration // of our clock before the broker's, or a little less
	known := false
	for _, e := range entries {
		s.last = max(s.last, e.Rev)
		last := e.Key[strings.LastIndexByte(e.Key, '.')+1:]
		switch {
		case e.Value == nil:
		case last == limitToken:
			l, ok := decodeLimit(e.Value)
			s.limited = ok
			if ok && e.Rev > p.limitRev {
				if l.Per != p.limit.Per { // which comes by the watch only: until then, what suits both
					l.Jobs = min(l.Jobs, p.limit.Jobs)
				}
				p.limit.Jobs, p.limitRev = l.Jobs, e.Rev
			}
		case last == p.node:
			s.mine, s.ttl = true, e.TTL
			if e.Rev == p.rev {
				ahead, known = p.sent.Sub(e.Time), true
			}
		default:
			var g Grant
			if err := json.Unmarshal(e.Value, &g); err != nil {
				continue // nobody of ours
			}
			p.others[last] = g
			if (g.Held > 0 || g.Need > 0) && e.TTL > 0 { // who needs some may be next
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

// plan sets when to look for the permits of a node that is silent: nobody says when they
// are free.
func (p *pool) plan(s survey) {
	p.lookAt = time.Time{}
	if p.lost || p.own.Want <= p.own.Held {
		return
	}
	now := time.Now()
	for _, end := range s.ends {
		at := end.Add(afterExpiry)
		if at.Before(now) {
			at = now.Add(lookAgain)
		}
		if at.Before(p.refreshAt) && (p.lookAt.IsZero() || at.Before(p.lookAt)) {
			p.lookAt = at
		}
	}
}
