package web

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/singleflight"

	"github.com/millhand/millhand/internal/answer"
	problems "github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

const (
	fresh        = liveEvery - 100*time.Millisecond // of a snapshot: all who look within that share it
	freshHistory = 10 * time.Second                 // workers write what they counted as often
	maxHistories = 64                               // that are remembered
	lookWithin   = 5 * time.Second
)

// data is what all pages look at. It asks the broker only while somebody looks.
type data struct {
	view    *view.View
	looker  *problems.Looker
	stats   *stats.Store
	log     *slog.Logger
	conn    *nats.Conn
	viewers atomic.Int64 // pages that are kept up to date

	mu        sync.Mutex
	last      *view.Snapshot // that could be taken
	judged    *judged        // the last snapshot of which it is known what is wrong
	histories map[historyKey]*history
	flight    singleflight.Group
}

// A look is a snapshot, and what is known of rates.
type look struct {
	*view.Snapshot

	Failed  error         // the snapshot is an old one, since a new one could not be taken
	Rates   *answer.Rates // nil: nobody counts
	Partial bool          // the user may not see all of it
	judged  *judged
}

// look returns what there is now or, if the broker does not answer, what there was.
func (d *data) look(ctx context.Context) (*look, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	s, err := d.view.Snapshot(ctx)
	l := &look{Snapshot: s, Failed: err}
	if err != nil {
		if l.Snapshot = d.lastSnapshot(nil); l.Snapshot == nil {
			return nil, err
		}
		l.judged = d.lastJudged()
		return l, nil
	}
	d.lastSnapshot(s)
	l.Rates, l.judged = d.rates(ctx), d.judge(ctx, s)
	return l, nil
}

// lastSnapshot returns the last one, which is s unless that is nil.
func (d *data) lastSnapshot(s *view.Snapshot) *view.Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s != nil {
		d.last = s
	}
	return d.last
}

func (d *data) starts(ctx context.Context, queue, typ string) (float64, error) {
	return d.stats.StartRate(ctx, tally.Pair{Queue: queue, Type: typ}, time.Now())
}

type historyKey struct {
	of         window
	by         tally.By
	queue, typ string
}

type history struct {
	*tally.Series

	at time.Time // it was read
}

// history returns what happened in a window, up to ten seconds ago. All who look share it, and none
// may change it.
func (d *data) history(ctx context.Context, w window, by tally.By, queueName, typ string) (*history, error) {
	k := historyKey{of: w, by: by, queue: queueName, typ: typ}
	if h := d.known(k); h != nil {
		return h, nil
	}
	name := w.span.String() + w.until.String() + " " + string(by) + " " + queueName + "/" + typ
	got, err, _ := d.flight.Do(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookWithin)
		defer cancel()
		now := time.Now()
		until := cmp.Or(w.until, now)
		s, err := d.stats.History(ctx, stats.Query{From: until.Add(-w.span), Until: until, By: by, Queue: queueName, Type: typ})
		if err != nil {
			return nil, err
		}
		h := &history{s, now}
		d.remember(k, h)
		return h, nil
	})
	h, _ := got.(*history)
	return h, err
}

func (d *data) known(k historyKey) *history {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.histories[k]; h != nil && time.Since(h.at) < freshHistory {
		return h
	}
	return nil
}

func (d *data) remember(k historyKey, h *history) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.histories == nil || len(d.histories) >= maxHistories {
		d.histories = make(map[historyKey]*history)
	}
	d.histories[k] = h
}

// A throughput is what ended in a second, on average of the last minutes.
type throughput struct {
	Ended, Succeeded, Failed, Dead float64
	FailedShare                    float64 // of what ended, from 0 to 1
	Counts                         *tally.Counts
}

func (d *data) rates(ctx context.Context) *answer.Rates {
	series, err := d.history(ctx, window{span: answer.RateOver}, tally.ByPair, "", "")
	if err != nil {
		d.log.DebugContext(ctx, "rates are not known at the moment", slog.Any("err", err))
		return nil
	}
	return answer.RatesOf(series.Series, time.Now())
}

// throughputOf is that of a type in a queue; empty parts stand for all. It is nil if nobody counts.
func throughputOf(r *answer.Rates, queue, typ string) *throughput {
	if r == nil {
		return nil
	}
	each := r.Of(queue, typ)
	out := &throughput{Ended: each.Ended, Succeeded: each.Succeeded, Failed: each.Failed, Dead: each.Dead, Counts: r.Counts(queue, typ)}
	if out.Ended > 0 {
		out.FailedShare = (out.Failed + out.Dead) / out.Ended
	}
	return out
}

// quantile is how long all but a part of the runs waited or ran; false if nothing was measured.
func quantile(c *tally.Counts, m tally.Measure, q float64) (time.Duration, bool) {
	if c == nil || c.Histogram(m).Count() == 0 {
		return 0, false
	}
	return c.Histogram(m).Quantile(q), true
}
