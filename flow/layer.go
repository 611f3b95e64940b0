package flow

import (
	"runtime"
	"time"
)

// Stages has the steps behind it run in n goroutines, up to the next layer. Each event is handled by one
// of them, whoever is free, so afterwards there is no order: see [Stream.Ordered]. n of 0 is
// [runtime.GOMAXPROCS]. It is for steps that compute much or wait; a function of some nanoseconds is
// faster without.
func (s Stream[T]) Stages(n int) Stream[T] { return Stream[T]{layer[T]{in: s.node, n: n}} }

// Ordered is [Stream.Stages] that restores the order: what the layer makes of the events leaves it in
// their order. At most 4 deliveries a goroutine wait for an earlier one, or 1000 events of one, so an
// event that takes long finally holds the others up. n of 0 is [runtime.GOMAXPROCS].
func (s Stream[T]) Ordered(n int) Stream[T] {
	return Stream[T]{layer[T]{in: s.node, n: n, ordered: true}}
}

// Demand fixes how many events a goroutine of this layer asks for at once, and so how many [MapBatch]
// gets at most; as many may be on their way to it. Without it a goroutine begins with one event, asks for
// twice as many, up to 500, when those it got took it less than 1 ms, and for half as many when they took
// more than 10 ms. So four files are read by four goroutines, and a million numbers travel by the
// hundred. It is seldom needed: to have batches of a certain size for MapBatch, or of 1 where some events
// take much longer than others.
func (s Stream[T]) Demand(n int) Stream[T] { return Stream[T]{demand[T]{in: s.node, max: n}} }

// Merge has the events of several streams in one, as they come. Streams keep their own order. The steps
// behind it run in one goroutine, unless it is followed by [Stream.Stages], [Stream.Ordered] or [By].
func Merge[T any](streams ...Stream[T]) Stream[T] {
	var m gather[T]
	for _, s := range streams {
		m.inputs = append(m.inputs, s.node)
	}
	switch len(m.inputs) {
	case 0:
		return Stream[T]{nothing[T]()}
	case 1:
		return streams[0]
	}
	return Stream[T]{m}
}

type demand[T any] struct {
	in  node[T]
	max int
}

func (d demand[T]) lanes() int { return lanesOf(d.in) }

func (d demand[T]) plan(e env, to func(lane) sink[T]) {
	if d.max < 1 {
		e.refuse("Demand of %d events", d.max)
	}
	if e.demand == 0 { // the last word counts
		e.demand = d.max
	}
	planAbove(d.in, e, to)
}

// gather is a layer of one goroutine below several.
type gather[T any] struct{ inputs []node[T] }

func (m gather[T]) lanes() int { return 1 }

func (m gather[T]) plan(e env, to func(lane) sink[T]) { planLayer(e, m.inputs, 1, false, to) }

// inputs are the streams that feed a layer. Those of a Merge right above do so themselves.
func inputs[T any](n node[T]) []node[T] {
	m, ok := n.(gather[T])
	if !ok {
		return []node[T]{n}
	}
	var all []node[T]
	for _, in := range m.inputs {
		all = append(all, inputs(in)...)
	}
	return all
}

// isLane reports whether streams are one goroutine together.
func isLane[T any](streams []node[T]) bool { return len(streams) == 1 && lanesOf(streams[0]) == 1 }

type layer[T any] struct {
	in      node[T]
	n       int
	ordered bool
}

func (y layer[T]) lanes() int {
	if y.n == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return max(y.n, 1)
}

func (y layer[T]) plan(e env, to func(lane) sink[T]) {
	if y.n < 0 {
		e.refuse("a layer of %d goroutines", y.n)
		return
	}
	planLayer(e, inputs(y.in), y.lanes(), y.ordered, to)
}

// planLayer adds a layer of n goroutines. One of a single goroutine below a single one is none.
func planLayer[T any](e env, above []node[T], n int, ordered bool, to func(lane) sink[T]) {
	if n == 1 && isLane(above) {
		planAbove(above[0], e, to)
		return
	}
	ex := newExchange[T](n)
	up := e.above()
	var o *order
	if ordered && n > 1 {
		o = &order{}
		up.depth++
	}
	for _, in := range above {
		planAbove(in, up, ex.sink)
	}
	for i := range n {
		l := e.lane()
		ex.inboxes[i].g = l.g
		if o != nil {
			l.g.order = o
		}
		out := to(l)
		e.do(l, out.end, func() error { return ex.deliver(l, i, newPace(e.demand), out) })
	}
}

// deliver is what a goroutine below an exchange does.
func (ex *exchange[T]) deliver(l lane, i int, p pace, out sink[T]) error {
	for {
		in, more, err := ex.take(l, i, p.n, time.Time{})
		if err != nil || !more {
			return err
		}
		p.begin()
		done := 0
		for _, s := range in.handed {
			if err := handOn(l.g, s, in.hand[done:done+s.n], out); err != nil {
				return err
			}
			done += s.n
		}
		p.next()
	}
}

// handOn pushes what came from one source.
func handOn[T any](g *goroutine, s segment, events []T, out sink[T]) error {
	g.source = s.source
	if g.turn != nil {
		g.turn.begin(s)
	}
	if err := out.push(events); err != nil {
		return err
	}
	if g.turn != nil {
		if err := g.turn.finish(); err != nil {
			return err
		}
	}
	for _, f := range g.handled {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}
