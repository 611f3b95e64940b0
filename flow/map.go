package flow

import (
	"context"
	"iter"
	"slices"
)

// Map makes one event of each, by a function that cannot fail.
func Map[T, U any](s Stream[T], f func(T) U) Stream[U] {
	return Stream[U]{step[T, U]{in: s.node, settings: describe("Map", f), make: func(l lane, s settings, next sink[U]) sink[T] {
		return &mapper[T, U]{newWorker(l, s, next), f}
	}}}
}

type mapper[T, U any] struct {
	worker[U]
	f func(T) U
}

func (m *mapper[T, U]) push(batch []T) error {
	m.begin()
	out := slices.Grow(m.out[:0], len(batch))
	for _, v := range batch {
		out = append(out, m.f(v))
	}
	m.out = out
	return m.flush()
}

// Try makes one event of each, by a function that may fail or wait. Its context ends with the flow. An
// error ends the flow as an [ItemError], unless [Stream.OnError] right behind it says otherwise.
func Try[T, U any](s Stream[T], f func(context.Context, T) (U, error)) Stream[U] {
	return Stream[U]{step[T, U]{in: s.node, settings: describe("Try", f), fails: true, make: func(l lane, s settings, next sink[U]) sink[T] {
		return &trier[T, U]{newWorker(l, s, next), f}
	}}}
}

type trier[T, U any] struct {
	worker[U]
	f func(context.Context, T) (U, error)
}

func (t *trier[T, U]) push(batch []T) error {
	t.begin()
	for _, v := range batch {
		u, err := t.f(t.lane.ctx, v)
		if err == nil {
			t.out = append(t.out, u)
			continue
		}
		if err := t.failed(v, err); err != nil {
			return first(t.flush(), err)
		}
	}
	return t.flush()
}

// first returns the error that came first.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// FlatMap makes any number of events of each, by a function that cannot fail, such as
// [strings.FieldsSeq]. A long sequence is read only as far as its events are wanted.
func FlatMap[T, U any](s Stream[T], f func(T) iter.Seq[U]) Stream[U] {
	return Stream[U]{step[T, U]{in: s.node, settings: describe("FlatMap", f), make: func(l lane, s settings, next sink[U]) sink[T] {
		return newFlatMapper(newWorker(l, s, next), f)
	}}}
}

type flatMapper[T, U any] struct {
	worker[U]
	f       func(T) iter.Seq[U]
	pace    pace
	yield   func(U) bool // the body of the loop, made once instead of for each event
	stopped error
}

func newFlatMapper[T, U any](w worker[U], f func(T) iter.Seq[U]) *flatMapper[T, U] {
	m := &flatMapper[T, U]{worker: w, f: f, pace: newPace(0)}
	m.yield = m.add
	return m
}

func (m *flatMapper[T, U]) push(batch []T) error {
	m.begin()
	m.pace.begin()
	for _, v := range batch {
		m.f(v)(m.yield)
		if m.stopped != nil {
			return m.stopped
		}
	}
	return m.flush()
}

func (m *flatMapper[T, U]) add(u U) bool {
	if m.stopped != nil { // the sequence goes on all the same
		return false
	}
	m.out = append(m.out, u)
	if len(m.out) < m.pace.n {
		return true
	}
	m.stopped = m.flush()
	if m.stopped == nil { // nobody else looks, if all below is on this goroutine
		m.stopped = m.lane.interrupted()
	}
	m.begin()
	m.pace.next()
	return m.stopped == nil
}

// FlatTry makes any number of events of each, by a function that may fail or wait: reading a file, say.
// An error is the last thing that a sequence yields, and means what it does for [Try]: the events before
// it count.
func FlatTry[T, U any](s Stream[T], f func(context.Context, T) iter.Seq2[U, error]) Stream[U] {
	return Stream[U]{step[T, U]{in: s.node, settings: describe("FlatTry", f), fails: true, make: func(l lane, s settings, next sink[U]) sink[T] {
		return newFlatTrier(newWorker(l, s, next), f)
	}}}
}

type flatTrier[T, U any] struct {
	*flatMapper[T, U]
	f         func(context.Context, T) iter.Seq2[U, error]
	yieldPair func(U, error) bool
	failure   error // what the sequence yielded as its last
}

func newFlatTrier[T, U any](w worker[U], f func(context.Context, T) iter.Seq2[U, error]) *flatTrier[T, U] {
	t := &flatTrier[T, U]{flatMapper: newFlatMapper[T](w, nil), f: f}
	t.yieldPair = t.addPair
	return t
}

func (t *flatTrier[T, U]) push(batch []T) error {
	t.begin()
	t.pace.begin()
	for _, v := range batch {
		t.failure = nil
		t.f(t.lane.ctx, v)(t.yieldPair)
		if t.stopped != nil {
			return t.stopped
		}
		if t.failure != nil {
			if err := t.failed(v, t.failure); err != nil {
				return first(t.flush(), err)
			}
		}
	}
	return t.flush()
}

func (t *flatTrier[T, U]) addPair(u U, err error) bool {
	switch {
	case t.failure != nil: // the sequence goes on all the same
		return false
	case err != nil:
		t.failure = err
		return false
	}
	return t.add(u)
}

// MapBatch gives f the events that travel together, which are never none and at most what
// [Stream.Demand] says, and makes of them what f returns, also none. Use it where one call for many is
// cheaper: a query, a request. How the events are cut is of no meaning. The batch is valid until f
// returns. An error means what it does for [Try], for the whole batch.
func MapBatch[T, U any](s Stream[T], f func(context.Context, []T) ([]U, error)) Stream[U] {
	return Stream[U]{step[T, U]{in: s.node, settings: describe("MapBatch", f), fails: true, make: func(l lane, s settings, next sink[U]) sink[T] {
		return &batcher[T, U]{newWorker(l, s, next), f}
	}}}
}

type batcher[T, U any] struct {
	worker[U]
	f func(context.Context, []T) ([]U, error)
}

func (b *batcher[T, U]) push(batch []T) error {
	b.begin()
	made, err := b.f(b.lane.ctx, batch)
	if err != nil {
		return b.failed(slices.Clone(batch), err)
	}
	if len(made) == 0 {
		return nil
	}
	return b.next.push(made)
}
