package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// run is what one Run of a pipeline is, whatever its values.
type run struct {
	name      string
	log       *slog.Logger
	failures  Failure
	ordered   bool
	described []AnyBatcher
	batchers  []batching // as described
	account   *account
	counts    *counts
	observe   func(Event)
	around    Handler                            // middleware; nil: there is none
	failed    func(context.Context, []*envelope) // nil: nobody wants to know

	folds []batching      // those of batchers that keep to an order
	parts *sync.WaitGroup // all goroutines

	work    context.Context //nolint:containedctx // ends with ErrHandedBack, for all that runs
	abort   context.CancelCauseFunc
	settles context.Context //nolint:containedctx // lasts until nothing is waited for any more
	stopped context.Context //nolint:containedctx // ends with what a message failed with, for OnFailure.Stop
	stop    context.CancelCauseFunc

	// Of the key dispatcher; nil without an order.
	passed func(key string) // a message of the key is out of the way
	hold   func(key string)
	unhold func(key string)
}

// stops ends the pipeline if a message has failed that is to do so.
func (r *run) stops(e *envelope, err error) bool {
	switch {
	case err == nil || e.lost() != nil:
		return false
	case errors.Is(err, ErrHandedBack) && r.work.Err() != nil:
		return true // the run ends already, and hands back what is in hand
	case !e.failures().Stop:
		return false
	}
	r.stop(err)
	r.abort(ErrHandedBack)
	return true
}

// verdict turns what a function returned because the run ended into that.
func (r *run) verdict(err error) error {
	if err != nil && r.work.Err() != nil && cancelled(err) {
		return ErrHandedBack
	}
	return err
}

// during returns the context of a call for messages with these lives, which ends with the run or when all
// of them have ended. A nil life does not end before the run.
func (r *run) during(lives ...context.Context) (ctx context.Context, done func()) {
	if slices.Contains(lives, nil) {
		return r.work, func() {}
	}
	c := &callContext{Context: r.work, lives: slices.Clone(lives)}
	return c, c.end
}

func (r *run) logLost(batcher string, e *envelope) {
	r.log.Error("a value is lost: it was added when Process had returned", slog.String("batcher", batcher), slog.String("id", e.id()))
}

// pause waits before the next attempt. It returns false if there is to be none.
func (r *run) pause(f Failure, attempt int) bool {
	var d time.Duration
	if err := contained(func() error { d = f.Backoff(attempt); return nil }); err != nil {
		r.log.Error("a Backoff failed: no further attempt", slog.Any("err", err))
		return false
	}
	return wait(r.work, d)
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// releaseKeys lets keys go on.
func (r *run) releaseKeys(keys []string) {
	for _, key := range keys {
		r.unhold(key)
	}
}

// flushOldest has the oldest of all open batches handled.
func (r *run) flushOldest() {
	first := -1
	var age time.Time
	for i, b := range r.batchers {
		if since, ok := b.oldest(); ok && (first < 0 || since.Before(age)) {
			first, age = i, since
		}
	}
	if first >= 0 {
		r.batchers[first].flushOldest()
	}
}

func (r *run) flush() {
	for _, b := range r.batchers {
		b.flush()
	}
}

// settle tells the ackers how messages ended, and takes them out of hand.
func (r *run) settle(ended []*envelope) {
	if len(ended) == 0 {
		return
	}
	r.tellFailed(ended)
	failed, back := 0, 0
	for _, e := range ended {
		switch err := e.failure(); {
		case err == nil:
		case errors.Is(err, ErrHandedBack):
			back++
		default:
			failed++
		}
	}
	s := r.span("settle", len(ended))
	s.end(failed, r.tellAckers(ended))
	r.counts.ended(len(ended)-failed-back, failed, back)
	r.account.drop(ended)
}

// tellFailed logs what failed, and calls Failed.
func (r *run) tellFailed(ended []*envelope) {
	var failed []*envelope
	for _, e := range ended {
		err := e.failure()
		if err == nil || errors.Is(err, ErrHandedBack) {
			continue
		}
		failed = append(failed, e)
		if e.told.Load() {
			continue
		}
		attrs := []slog.Attr{slog.String("id", e.id()), slog.Int("attempt", e.attempt), slog.Any("err", err)}
		if p, ok := errors.AsType[*PanicError](err); ok {
			attrs = append(attrs, slog.String("stack", string(p.Stack)))
		}
		r.log.LogAttrs(r.settles, slog.LevelWarn, "a message failed", attrs...)
	}
	if len(failed) == 0 || r.failed == nil {
		return
	}
	s := r.span("failed", len(failed))
	err := contained(func() error { r.failed(r.settles, failed); return nil })
	if err != nil {
		r.log.Error("what is called with failed messages failed: they are settled as they are", slog.Int("messages", len(failed)), slog.Any("err", err))
	}
	s.end(0, err)
}

// tellAckers calls each acker once.
func (r *run) tellAckers(ended []*envelope) (failed error) {
	told := make([]bool, len(ended))
	for i, e := range ended {
		if told[i] || e.acker == nil {
			continue
		}
		ends := make([]End, 0, len(ended)-i)
		for j := i; j < len(ended); j++ {
			if o := ended[j]; i == j || !told[j] && same(o.acker, e.acker) {
				told[j] = true
				ends = append(ends, o.self.end(o.failure()))
			}
		}
		if err := contained(func() error { return e.acker.Settle(r.settles, ends) }); err != nil {
			failed = err
			r.counts.unsettled.Add(int64(len(ends)))
			r.log.Error("messages could not be settled: the source hands them out again as it sees fit",
				slog.Int("messages", len(ends)), slog.Any("err", err))
		}
	}
	return failed
}
