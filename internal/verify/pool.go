package verify

import (
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/view"
)

// A pool is a limit with what it is about.
type pool struct {
	view.Pool
	period time.Duration // of a rate
	name   string        // of the type, the key or the queue
}

func poolsOf(s *view.Snapshot) []pool {
	all := make([]pool, 0, len(s.Pools))
	for _, p := range s.Pools {
		all = append(all, poolOf(p))
	}
	return all
}

func poolOf(p view.Pool) pool {
	name := p.Name
	if _, after, kinded := strings.Cut(name, "="); kinded {
		name = after
	}
	period, _ := time.ParseDuration(p.Per) // 0 of a quota
	return pool{Pool: p, period: period, name: name}
}

// covers reports whether the limit holds for jobs of a type in a queue.
func (p *pool) covers(queueName, typ string) bool {
	switch p.Kind {
	case slots.OfQueue:
		return p.name == queueName
	case slots.OfKey:
		return slices.Contains(p.Types, typ)
	default:
		return p.name == typ
	}
}

// settles is how long workers take to act on a limit that was set, with what clocks may differ.
const settles = 5 * time.Second

// since is from when on the limit as it is now holds for all that starts.
func (p *pool) since() time.Time { return p.Set.Add(settles) }
