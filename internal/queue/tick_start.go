package queue

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
)

// JudgeTicks has jobs of ticks judged by their entries before they start for the first time, be they
// removed. It is to be called before the pullers of the settler run.
func (s *Settler) JudgeTicks(entry func(ctx context.Context, name string) (e cron.Entry, known bool)) {
	s.entry = entry
}

// mayTick reports whether h may start as far as its tick is concerned, and settles it if not. It does
// not matter why a tick is late: nobody was there to publish or to run it, or it waited in a queue
// that was long or paused.
func (p *Puller) mayTick(ctx context.Context, h *Delivery) bool {
	t := h.Tick
	if t == nil || p.settler.entry == nil || h.HasStarted() || h.RetryOf != "" { // which somebody asked for
		return true
	}
	e, known := p.settler.entry(ctx, t.Entry)
	if !known {
		return true // nothing says that it was removed
	}
	now, err := p.store.Now(ctx, p.queue)
	if err != nil {
		return true // nobody can tell whether it is late
	}
	late := now.Sub(t.Time).Round(time.Millisecond)
	switch e.Judge(cron.Tick{Rev: t.Rev, At: t.Time, Due: h.Due}, now) {
	case cron.Runs:
		return true
	case cron.Missed:
		p.log.WarnContext(ctx, "a schedule's tick came too late and is missed", slog.String("cron", t.Entry), slog.String("id", h.ID), slog.Time("tick", t.Time), slog.Duration("wait", late))
		p.settler.Settle(h, Outcome{Kind: job.EventCancelled, Reason: job.ReasonMissed, Error: fmt.Sprintf("%v late, with a grace of %v", late, e.Grace)})
	case cron.Superseded:
		p.settler.Settle(h, Outcome{Kind: job.EventCancelled, Reason: job.ReasonSuperseded})
	}
	return false
}
