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
// after they were told that their permits ended, and may run elsewhere by now. Only time
// in which they could act counts: not that in which the process was frozen. Call it before
// [Gate.Guard].
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
func (g *Gate) sweep(now time.Time) (revoked []*Delivery, overran []job.Record, again bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	again = len(g.demand.limits) > 0
	passed := g.passed(now)
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
			if grip.told {
				grip.ignored += passed
			}
			grip.told = true
			if !grip.reported && grip.ignored >= g.grace {
				grip.reported = true
				overran = append(overran, h.Record)
			}
		}
	}
	return revoked, overran, again
}

// passed returns how much time handlers have had since the last sweep. One that comes late has
// found out that the process could not act, or hardly, be it stopped, suspended or starved:
// handlers could not either, and are to have a part of the grace from now on.
func (g *Gate) passed(now time.Time) time.Duration {
	passed := elapsed(g.swept, now)
	g.swept = now
	return min(passed, g.grace*3/4)
}
