package flow

import "slices"

// Top keeps the n greatest events of a stream, by compare, and emits them in one slice, the greatest
// first, when the stream has ended: a shorter one if there are fewer, and one of none for no events. Each
// goroutine of the layer keeps n, and one goroutine merges them. Of events that are equal, the first ones
// are kept, as far as they have an order.
func Top[T any](s Stream[T], n int, compare func(a, b T) int) Stream[[]T] {
	d := describe("Top", compare)
	if n < 1 {
		d.refuse("Top of less than 1")
	}
	lists := step[T, []T]{in: s.node, settings: d, make: func(l lane, s settings, next sink[[]T]) sink[T] {
		return &tops[T]{worker: newWorker(l, s, next), best: best[T]{n: n, compare: compare}}
	}}
	if lists.lanes() == 1 {
		return Stream[[]T]{lists}
	}
	return Stream[[]T]{step[[]T, []T]{
		in: gather[[]T]{inputs: []node[[]T]{lists}}, settings: d,
		make: func(l lane, s settings, next sink[[]T]) sink[[]T] {
			return &topOfTops[T]{worker: newWorker(l, s, next), best: best[T]{n: n, compare: compare}}
		},
	}}
}

// best is the n greatest of what was added. Up to twice as many are kept, so that they need not be in
// order all the time.
type best[T any] struct {
	n       int
	compare func(a, b T) int
	sorted  int // how many of them are
	events  []T
}

func (b *best[T]) add(v T) {
	if b.sorted == b.n && b.compare(v, b.events[b.n-1]) <= 0 {
		return
	}
	b.events = append(b.events, v)
	if len(b.events) == 2*b.n {
		b.sort()
	}
}

func (b *best[T]) sort() []T {
	slices.SortStableFunc(b.events, func(x, y T) int { return b.compare(y, x) })
	if len(b.events) > b.n {
		clear(b.events[b.n:])
		b.events = b.events[:b.n]
	}
	b.sorted = len(b.events)
	return b.events
}

type tops[T any] struct {
	worker[[]T]
	best best[T]
}

func (t *tops[T]) push(batch []T) error {
	t.begin()
	for _, v := range batch {
		t.best.add(v)
	}
	return nil
}

func (t *tops[T]) end() error {
	return t.finish(func() error {
		t.begin()
		t.out = append(t.out, t.best.sort())
		return t.flush()
	})
}

type topOfTops[T any] struct {
	worker[[]T]
	best best[T]
}

func (t *topOfTops[T]) push(lists [][]T) error {
	t.begin()
	for _, list := range lists {
		for _, v := range list {
			t.best.add(v)
		}
	}
	return nil
}

func (t *topOfTops[T]) end() error {
	return t.finish(func() error {
		t.begin()
		t.out = append(t.out, t.best.sort())
		return t.flush()
	})
}
