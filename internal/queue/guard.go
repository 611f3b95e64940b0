package queue

import (
	"context"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// guardPause is how often running jobs are checked for their permits while there are limits.
// It is well below the margin by which permits end before another node may have them.
const guardPause = 250 * time.Millisecond

// OnOverrun has f called, once for each, with the jobs whose handlers still run so long
// after their permits ended, and may run elsewhere by now. Call it before [Gate.Guard].
func (g *Gate) OnOverrun(grace time.Duration, f func([]job.Record)) { g.grace, g.overran = grace, f }

// Guard has running jobs told when their permits end, until ctx does. It never waits for
// the broker.
func (g *Gate) Guard(ctx context.Context) error {
	timer := time.NewTimer(guardPause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.limited:
		case <-timer.C:
		}
		revoked, overran, again := g.sweep(time.Now())
		for _, h := range revoked {
			h.lease.revoke()
		}
		if len(overran) > 0 && g.overran != nil {
			g.overran(overran)
		}
		if again {
			timer.Reset(guardPause)
		}
	}
}

// wakeGuard has it look at once, and from now on.
func (g *Gate) wakeGuard() {
	select {
	case g.limited <- struct{}{}:
	default:
	}
}

// sweep returns the jobs that lost their permits since the last one, and those that ran on
// for too long after that. Without limits and what they left behind, there is nothing to do
// again.
func (g *Gate) sweep(now time.Time) (revoked []*Held, overran []job.Record, again bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	again = len(g.demand.limits) > 0
	for s, i := range g.inlets {
		for h := i.jobs.first; h != nil; h = h.grip.next {
			grip := &h.grip
			if grip.phase == waiting || grip.returned.Load() {
				continue // it does nothing
			}
			if grip.revoked.IsZero() {
				if grip.revoked = s.revoked(grip.stamp, now); !grip.revoked.IsZero() {
					revoked = append(revoked, h)
				}
			}
			if grip.revoked.IsZero() {
				continue
			}
			again = true
			if !grip.reported && elapsed(grip.revoked, now) >= g.grace {
				grip.reported = true
				overran = append(overran, h.Record)
			}
		}
	}
	return revoked, overran, again
}
