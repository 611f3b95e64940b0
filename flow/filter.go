package flow

import (
	"context"
	"sync/atomic"
)

// Filter keeps the events for which keep returns true.
func (s Stream[T]) Filter(keep func(T) bool) Stream[T] {
	return Stream[T]{step[T, T]{in: s.node, settings: describe("Filter", keep), make: func(l lane, s settings, next sink[T]) sink[T] {
		return &filter[T]{newWorker(l, s, next), keep}
	}}}
}

type filter[T any] struct {
	worker[T]
	keep func(T) bool
}

func (f *filter[T]) push(batch []T) error {
	f.begin()
	for _, v := range batch {
		if f.keep(v) {
			f.out = append(f.out, v)
		}
	}
	return f.flush()
}

// Each calls f with each event and hands the event on. After [Stream.Stages] it is called from several
// goroutines at once.
func (s Stream[T]) Each(f func(T)) Stream[T] {
	return Stream[T]{step[T, T]{in: s.node, settings: describe("Each", f), make: func(l lane, s settings, next sink[T]) sink[T] {
		return &caretaker[T]{newWorker(l, s, next), f}
	}}}
}

type caretaker[T any] struct {
	worker[T]
	f func(T)
}

func (c *caretaker[T]) push(batch []T) error {
	c.begin()
	for _, v := range batch {
		c.f(v)
	}
	return c.next.push(batch)
}

// Take ends the stream after n events, of all its goroutines together; n of 0 is a stream of none, for
// which nothing is read. What is above it is stopped: contexts end, sources are read no further. Sources
// have been read ahead by then, at most what was in hand.
func (s Stream[T]) Take(n int) Stream[T] { return Stream[T]{take[T]{in: s.node, n: n}} }

type take[T any] struct {
	in node[T]
	n  int
}

func (t take[T]) lanes() int {
	if t.n <= 0 {
		return 1
	}
	return lanesOf(t.in)
}

func (t take[T]) plan(e env, to func(lane) sink[T]) {
	switch {
	case t.n < 0:
		e.refuse("Take of %d events", t.n)
		return
	case t.n == 0:
		nothing[T]().plan(e, to)
		return
	}
	outer := e.ctx
	inner, stop := context.WithCancelCause(outer)
	left := new(atomic.Int64)
	left.Store(int64(t.n))
	e.ctx = inner
	planAbove(t.in, e, func(l lane) sink[T] {
		return arrive(l, func(l lane) sink[T] {
			below := lane{ctx: outer, g: l.g}
			return &taker[T]{plan: e.plan, below: below, next: to(below), left: left, stop: stop}
		})
	})
}

// nothing is the node of a stream without events.
func nothing[T any]() source[T] {
	return source[T]{read: func(lane, pace, sink[T]) error { return nil }}
}

type taker[T any] struct {
	plan  *plan
	below lane
	next  sink[T]
	left  *atomic.Int64
	stop  context.CancelCauseFunc
}

func (t *taker[T]) push(batch []T) error {
	left := t.left.Add(-int64(len(batch)))
	if left <= 0 {
		t.stop(t.plan.stopped) // before this lane ends: what it has kept is no result
	}
	wanted := left + int64(len(batch))
	if wanted <= 0 {
		return t.plan.stopped
	}
	err := t.next.push(batch[:min(wanted, int64(len(batch)))])
	t.plan.note(t.below.ctx, err) // above, errors may be due to the stop
	if left <= 0 {
		return t.plan.stopped
	}
	return err
}

func (t *taker[T]) end() error {
	err := t.next.end()
	t.plan.note(t.below.ctx, err)
	return err
}
