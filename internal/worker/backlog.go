package worker

import (
	"context"
	"time"

	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// backlog says what waits and who works at the moment, for the statistics of a minute, and what is wrong.
// If not all could be read it says only that. Once that is stored, who is to be told of problems is told: it is
// this worker that says so in the statistics.
func (w *Worker) backlog(ctx context.Context, made *tally.Record) (b *tally.Backlog, stored func(), err error) {
	s, err := w.cfg.View.Snapshot(ctx)
	if err != nil {
		return nil, nil, err
	}
	b = new(tally.Backlog)
	if len(s.Missing) == 0 {
		b = backlogOf(s)
	}
	report := w.cfg.Problems.Judge(ctx, s, made)
	var notices []problem.Message
	if w.cfg.Notify != nil {
		notices = report.Messages(w.cfg.NotifyLeast)
	}
	b.Signs = report.Signs
	return b, func() {
		w.problems.tell(ctx, report, time.Now())
		if w.cfg.Notify != nil {
			w.cfg.Notify.Send(notices)
		}
	}, nil
}

func backlogOf(s *view.Snapshot) *tally.Backlog {
	b := &tally.Backlog{Samples: 1, Queues: make(map[string]*tally.QueueBacklog), Dead: gauge(s.Dead), Workers: tally.One(uint64(len(s.Workers)))}
	slots, used := 0, 0
	for _, n := range s.Workers {
		slots += n.Concurrency
		used += n.SlotsUsed()
	}
	b.Slots, b.Used = tally.One(uint64(slots)), tally.One(uint64(used)) //nolint:gosec // neither is negative
	for _, q := range s.Queues {
		mine := &tally.QueueBacklog{
			Messages: gauge(q.Messages), Bytes: gauge(q.Bytes), LastSeq: q.LastSeq,
			Types: make(map[string]*tally.TypeBacklog),
		}
		b.Queues[q.Name] = mine
		for _, t := range q.Types {
			waits := &tally.TypeBacklog{Ready: gauge(t.Ready), InHand: gauge(t.InHand), Oldest: age(t.Oldest, s.At)}
			if *waits != (tally.TypeBacklog{}) {
				mine.Types[t.Name] = waits
			}
		}
	}
	return b
}

// gauge is a count as statistics have it; what is not known is none.
func gauge(c view.Count) tally.Gauge {
	if !c.Known() {
		return tally.Gauge{}
	}
	return tally.One(uint64(max(c.Value, 0)))
}

// age is that of a ready job at a time, in seconds; 0 of none and of one that is not known.
func age(o view.Oldest, at time.Time) tally.Gauge {
	if o.Seq == 0 || o.At.IsZero() {
		return tally.Gauge{}
	}
	return tally.One(uint64(max(at.Sub(o.At), 0) / time.Second)) //nolint:gosec // it is not negative
}
