package registry

import (
	"slices"
	"time"

	"github.com/millhand/millhand/internal/slots"
)

// limiter is where a node's permits are used.
type limiter struct {
	node *node
	key  slots.Key

	// Guarded by scene.mu.
	per     time.Duration
	limited bool
	permits int
	until   time.Time
	used    int
	lost    int // times
}

func (v *limiter) admits(now time.Time) bool {
	return !v.limited || v.used < v.permits && now.Before(v.until)
}

// started covers a start: that of a rate for a period, and a little.
func (v *limiter) started() {
	v.used++
	if v.key.Rate {
		time.AfterFunc(v.per+lookForJobs, func() {
			v.node.mu.Lock()
			defer v.node.mu.Unlock()
			v.used--
		})
	}
}

// guard ends what runs past its permit.
func (v *limiter) guard(now time.Time) {
	if !v.limited || v.key.Rate || now.Before(v.until) {
		return
	}
	for _, w := range v.node.jobs {
		for _, p := range w.keys {
			if p == v.key {
				v.node.end(w)
			}
		}
	}
}

func (v *limiter) Allow(permits int, until time.Time) {
	v.node.thawed()
	v.node.mu.Lock()
	defer v.node.mu.Unlock()
	v.limited, v.permits, v.until = true, permits, until
	time.AfterFunc(time.Until(until), func() {
		v.node.mu.Lock()
		defer v.node.mu.Unlock()
		if v.node.frozen == nil {
			v.guard(time.Now())
		}
	})
}

func (v *limiter) Use() (used, need, want int) {
	v.node.thawed()
	v.node.mu.Lock()
	defer v.node.mu.Unlock()
	need, want = v.used, v.used+max(v.node.free, v.due())
	if v.node.cfg.jobs > 0 && !v.node.idle {
		need = want
	}
	return v.used, need, want
}

// holdsFor reports whether jobs of a type need a permit of it.
func (v *limiter) holdsFor(typ string) bool {
	switch v.key.Kind {
	case slots.OfType:
		return v.key.Name == typ
	case slots.OfQueue:
		return v.key.Name == v.node.cfg.queue
	}
	return v.key.Name == v.node.keys[typ]
}

// due is how many slots more are to be those of the types of the limit, though others may have
// taken them: a gate counts on its share as well. Of a rate it is one at least.
func (v *limiter) due() int {
	types, running := 0, 0
	for _, typ := range v.node.cfg.types {
		if v.holdsFor(typ) {
			types++
		}
	}
	for _, w := range v.node.jobs {
		if slices.Contains(w.keys, v.key) {
			running++
		}
	}
	due := max(v.node.cfg.concurrency/len(v.node.cfg.types), 1)*types - running
	if v.key.Rate && types > 0 {
		due = max(due, 1)
	}
	return max(due, 0)
}

func (v *limiter) Lift() {
	v.node.thawed()
	v.node.mu.Lock()
	defer v.node.mu.Unlock()
	v.limited = false
}

func (v *limiter) Lose() {
	v.node.thawed()
	v.node.mu.Lock()
	defer v.node.mu.Unlock()
	v.limited, v.permits, v.until = true, 0, time.Time{}
	v.lost++
	v.guard(time.Now())
}
