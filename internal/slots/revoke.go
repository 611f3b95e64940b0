package slots

import (
	"context"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// watchPause is how often running jobs are checked for their permits while there are limits.
// It is well below the margin by which permits end before another node may have them.
const watchPause = 250 * time.Millisecond

// overrun is what is done about jobs that run on without a permit.
type overrun struct {
	grace time.Duration
	tell  func([]job.Record)
	swept time.Time // when running jobs were looked at last
}

// OnOverrun has f called with the names of the jobs whose handlers still run this long after they were told
// that their permits ended, once for each job. By then the job may run elsewhere. Only time in which
// handlers could act counts, not time in which the process was frozen. Call it before
// [Slots.WatchPermits].
func (s *Slots) OnOverrun(grace time.Duration, f func([]job.Record)) {
	s.overrun.grace, s.overrun.tell = grace, f
}

// WatchPermits tells running jobs when their permits end, until ctx does. It never waits for
// the broker.
func (s *Slots) WatchPermits(ctx context.Context) error {
	timer := time.NewTimer(watchPause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wakeWatch:
		case <-timer.C:
		}
		revoked, overran, again := s.sweep(time.Now())
		for _, t := range revoked {
			t.revoker.Revoke()
		}
		if len(overran) > 0 && s.overrun.tell != nil {
			s.overrun.tell(overran)
		}
		if again {
			timer.Reset(watchPause)
		}
	}
}

// sweep returns the jobs that lost their permits since the last sweep, and those that ran on for
// too long after that. It reports whether there is anything to sweep again: there are limits, or
// jobs that lost a permit still run.
func (s *Slots) sweep(now time.Time) (revoked []*Ticket, overran []job.Record, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again = len(s.demand.limits) > 0
	passed := s.overrun.passed(now)
	for _, source := range s.demand.sources {
		for t := source.tickets.first; t != nil; t = t.next {
			if t.phase == waiting || t.returned.Load() {
				continue // it does nothing
			}
			if t.revoked.IsZero() {
				since, by := source.revoked(t.stamp, now)
				if t.revoked = since; by != nil {
					by.stops++
					revoked = append(revoked, t)
				}
			}
			if t.revoked.IsZero() {
				continue
			}
			again = true
			if t.told {
				t.ignored += passed
			}
			t.told = true
			if !t.reported && t.ignored >= s.overrun.grace {
				t.reported = true
				overran = append(overran, t.named())
			}
		}
	}
	return revoked, overran, again
}

// passed returns how much time handlers have had since the last sweep. If the sweep is late, the
// process was stopped, suspended or starved, and its handlers could not act either: they still get
// a part of the grace.
func (o *overrun) passed(now time.Time) time.Duration {
	passed := Elapsed(o.swept, now)
	o.swept = now
	return min(passed, o.grace*3/4)
}
