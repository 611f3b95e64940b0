package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/hash"
)

// puller asks the source for as many messages as there is room for, and gives them to the producer stage.
type puller[T any] struct {
	run     *typedRun[T]
	granted int       // starts that the limiter has granted and that have not been used
	at      time.Time // when it did
	out     []Delivery[T]
	in      []*Message[T]
	all     []*envelope
	failing int // pulls in a row
}

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// pull works until ctx ends or the source does. It returns what the source ended with.
func (p *puller[T]) pull(ctx context.Context) error {
	for {
		n := p.run.account.room()
		if n == 0 {
			select {
			case <-p.run.account.changed:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		n, ok := p.limit(ctx, n)
		if !ok {
			if ctx.Err() != nil || !p.rest(ctx) {
				return nil //nolint:nilerr // the end of ctx is a drain
			}
			continue
		}
		err := p.once(ctx, n)
		cause, over := ended(err)
		switch {
		case over || ctx.Err() != nil:
			return cause
		case err == nil:
			p.failing = 0
		default:
			p.run.log.ErrorContext(ctx, "the source could not be read", slog.Any("err", err))
			if !p.rest(ctx) {
				return nil
			}
		}
	}
}

// leave lets go of what was pulled and is not in hand, which there is only if the puller crashes.
func (p *puller[T]) leave() {
	for _, d := range p.out {
		letGo(d.Acker, d.Ref)
	}
}

// rest waits longer each time.
func (p *puller[T]) rest(ctx context.Context) bool {
	p.failing++
	return wait(ctx, min(firstRetry<<min(p.failing-1, 10), lastRetry))
}

// limit returns how many of n may be started. While it waits the source is as good as shut.
func (p *puller[T]) limit(ctx context.Context, n int) (granted int, ok bool) {
	l := p.run.config.Limit
	if l == nil {
		return n, true
	}
	if p.granted == 0 && !p.grant(ctx, l, n) {
		return 0, false
	}
	return min(n, p.granted, p.run.account.room()), true
}

// grant asks the limiter for n starts, and reports whether it granted any.
func (p *puller[T]) grant(ctx context.Context, l Limiter, n int) bool {
	a := p.run.account
	a.update(func() { a.waiting = true })
	err := contained(func() (err error) {
		if r, ok := l.(*Rate); ok {
			p.granted, p.at, err = r.takeAt(ctx, n)
			return err
		}
		p.granted, err = l.Take(ctx, n)
		p.at = time.Now()
		return err
	})
	a.update(func() { a.waiting = false })
	if err != nil && ctx.Err() == nil {
		p.run.log.ErrorContext(ctx, "the limiter failed", slog.Any("err", err))
	}
	if err != nil || p.granted < 1 {
		p.granted = 0
		return false
	}
	return true
}

// lateGrant is how long a source may take to return messages on what was granted before.
const lateGrant = time.Millisecond

// start uses the grants for the n messages that have come, and returns how many of them may start: all,
// unless ctx ends. Grants that the source has kept waiting would add up with those of a later period, so they
// are made those of now, or taken again.
func (p *puller[T]) start(ctx context.Context, n int) (started int) {
	l := p.run.config.Limit
	if l == nil || n == 0 {
		return n
	}
	if time.Since(p.at) > lateGrant {
		if r, ok := l.(*Rate); ok {
			p.granted, p.at = r.renew(p.granted, p.at)
		} else {
			p.granted = 0
		}
	}
	for {
		used := min(p.granted, n-started)
		p.granted, started = p.granted-used, started+used
		if started == n {
			return n
		}
		if !p.grant(ctx, l, n-started) && (ctx.Err() != nil || !p.rest(ctx)) {
			return started
		}
	}
}

// once pulls once, and hands on what came.
func (p *puller[T]) once(ctx context.Context, n int) error {
	if n < 1 {
		return nil // there was room before the limiter was asked, and now there is none
	}
	begun := time.Now()
	clear(p.out)
	p.out = p.out[:0]
	pulling := p.run.untilPause(ctx)
	err := contained(func() (err error) {
		p.out, err = p.run.config.Source.Pull(pulling, n, p.out)
		return err
	})
	if _, over := ended(err); pulling.Err() != nil && !over {
		err = nil // what it says otherwise it will say again
	}
	if p.run.observe != nil {
		e := Event{Pipeline: p.run.name, What: "pull", Phase: Stop, Messages: len(p.out), Took: time.Since(begun)}
		if _, over := ended(err); err != nil && !over {
			e.Phase, e.Err = Fail, err
		}
		p.run.tellObserver(e)
	}
	if err == nil && len(p.out) == 0 && pulling.Err() == nil {
		err = errNothing
	}
	if surplus := len(p.out) - n; surplus > 0 {
		err = errors.Join(err, fmt.Errorf("pipeline: the source returned %d messages for %d; the rest is handed back", len(p.out), n))
		p.accept(p.out[n:], true)
		p.out = p.out[:n]
	}
	started := p.start(ctx, len(p.out))
	if rest := p.out[started:]; len(rest) > 0 {
		p.accept(rest, true)
	}
	if started > 0 {
		p.accept(p.out[:started], false)
	}
	return err
}

// untilPause returns the context of pulls until the next Pause.
func (r *typedRun[T]) untilPause(ctx context.Context) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pulling == nil || r.pulling.Err() != nil {
		r.pulling, r.endPull = context.WithCancel(ctx)
	}
	r.account.mu.Lock()
	defer r.account.mu.Unlock()
	if r.account.paused { // since there was room
		r.endPull()
	}
	return r.pulling
}

// endPulls ends the pull that waits.
func (r *typedRun[T]) endPulls() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.endPull != nil {
		r.endPull()
	}
}

// accept makes messages of deliveries, and hands them on, or back.
func (p *puller[T]) accept(deliveries []Delivery[T], back bool) {
	r := p.run.run
	p.in, p.all = p.in[:0], p.all[:0]
	for i := range deliveries {
		d := &deliveries[i]
		m := &Message[T]{Value: d.Value, Key: d.Key, At: d.At, Attempt: d.Attempt, Meta: d.Meta}
		e := &m.envelope
		e.self, e.run, e.acker, e.ref, e.attempt, e.life = m, r, d.Acker, d.Ref, d.Attempt, d.Context
		m.Fail(d.Err)
		p.in = append(p.in, m)
		p.all = append(p.all, e)
	}
	clear(deliveries) // whatever happens to them now is known of the envelopes
	if back || !r.account.take(p.all) {
		r.giveBack(p.all)
		return
	}
	p.order()
	for _, f := range r.folds {
		f.pulled(p.all)
	}
	if err := p.run.producer.Emit(r.settles, p.in); err != nil {
		r.log.Error("messages wait for the end of the run", slog.Any("err", err)) // and are handed back
	}
	clear(p.in)
	clear(p.all)
}

// order gives messages the keys that they are ordered by. One whose key is not to be had fails.
func (p *puller[T]) order() {
	r := p.run
	if !r.ordered {
		return
	}
	next := 0
	for next < len(p.in) {
		err := contained(func() error {
			for ; next < len(p.in); next++ {
				m := p.in[next]
				if r.config.OrderBy != nil {
					m.Key = r.config.OrderBy(m)
				}
				m.envelope.key = m.Key
				m.envelope.hash = hash.String(m.Key)
			}
			return nil
		})
		if err != nil {
			p.in[next].Fail(err)
			next++
		}
	}
}

// giveBack settles messages that were never in hand.
func (r *run) giveBack(pulled []*envelope) {
	for _, e := range pulled {
		e.end(ErrHandedBack)
	}
	_ = r.tellAckers(slices.Clone(pulled))
	r.counts.ended(0, 0, len(pulled))
}
