package flow

import (
	"cmp"
	"math"
	"slices"

	"github.com/millhand/millhand/internal/window"
)

// Gather makes one value of those of all partitions, or with [Keyed.Within] one for each window: zero
// makes the first, and merge adds the value of a partition to it, whenever that is emitted. So with
// triggers, and with [Window.Late], it is called more than once for one partition, and the [Pane] says why.
// The value comes once, when all partitions are done with the window; values of windows come in the order
// in which they end. It runs in one goroutine.
//
// merge must not change a: its partition may go on with it.
func Gather[A, B any](r Reduced[A], zero func() B, merge func(b B, a A, p Pane) B) Stream[B] {
	s := describe("Gather", merge)
	if zero == nil {
		s.refuse("Gather needs a function for the first value")
	}
	return Stream[B]{gatherNode[A, B]{in: r, settings: s, zero: zero, merge: merge}}
}

type gatherNode[A, B any] struct {
	in       Reduced[A]
	settings settings
	zero     func() B
	merge    func(B, A, Pane) B
}

// gathered is the value of a partition on its way to the goroutine of Gather.
type gathered[A any] struct {
	value A
	pane  Pane
}

func (n gatherNode[A, B]) lanes() int { return 1 }

func (n gatherNode[A, B]) configure(change func(*settings, bool)) node[B] {
	change(&n.settings, false)
	return n
}

func (n gatherNode[A, B]) plan(e env, to func(lane) sink[B]) {
	if n.settings.problem != "" {
		e.refuse("%s", n.settings.problem)
	}
	none := (*horizon)(nil)
	if lanesOf(n.in.node) == 1 {
		planAbove(n.in.node, none.beside(e), func(l lane) sink[fired[A]] {
			return &gatherer[A, B]{next: direct[gathered[A]]{n.merger(l, to(l))}}
		})
		return
	}
	exchanges := newExchanges[gathered[A]](1)
	planAbove(n.in.node, none.above(e), func(l lane) sink[fired[A]] {
		return &gatherer[A, B]{next: exchanges[0].connect(l)}
	})
	serve(e, exchanges, &keys{}, nil, func(p partition, next sink[B]) sink[gathered[A]] { return n.merger(p.lane, next) }, to)
}

func (n gatherNode[A, B]) merger(l lane, next sink[B]) *merger[A, B] {
	m := &merger[A, B]{
		worker: newWorker(l, n.settings, next), n: n, open: map[windowID]*merged[B]{},
		low: make([]int64, max(n.in.n, 1)),
	}
	for i := range m.low {
		m.low[i] = math.MinInt64
	}
	return m
}

// gatherer is in a partition.
type gatherer[A, B any] struct {
	next receiver[gathered[A]]
}

func (g *gatherer[A, B]) push(batch []fired[A]) error {
	for _, p := range batch {
		if err := g.next.push([]gathered[A]{{*p.acc, p.pane}}); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer[A, B]) mark(m mark) error { return g.next.mark(m) }
func (g *gatherer[A, B]) end() error        { return g.next.end() }

type windowID struct {
	start, end int64
	number     int
}

// merged is the value of a window.
type merged[B any] struct {
	id     windowID
	value  B
	finals int // partitions that are done with it
}

// merger is the goroutine of Gather.
type merger[A, B any] struct {
	worker[B]
	n    gatherNode[A, B]
	open map[windowID]*merged[B]
	low  []int64 // how far each partition is
}

func (m *merger[A, B]) push(batch []gathered[A]) error {
	m.begin()
	for _, g := range batch {
		id := windowID{number: g.pane.Number}
		if m.n.in.c.Kind.EventTime() {
			id.start, id.end = g.pane.Start.UnixNano(), g.pane.End.UnixNano()
		}
		w, ok := m.open[id]
		if !ok {
			w = &merged[B]{id: id, value: m.n.zero()}
			m.open[id] = w
		}
		w.value = m.n.merge(w.value, g.value, g.pane)
		if !g.pane.Final {
			continue
		}
		// A partition without events of a window of event time says nothing of it, so that all are
		// done is known by how far they are.
		if w.finals++; w.finals == len(m.low) && !m.n.in.c.Kind.EventTime() {
			m.emit(w)
		}
	}
	return m.flush()
}

func (m *merger[A, B]) emit(w *merged[B]) {
	m.out = append(m.out, w.value)
	delete(m.open, w.id)
}

// mark tells how far a partition is.
func (m *merger[A, B]) mark(a mark) error {
	m.begin()
	m.low[a.lane-1] = max(m.low[a.lane-1], a.low)
	m.emitUpTo(slices.Min(m.low))
	return m.flush()
}

func (m *merger[A, B]) emitUpTo(low int64) {
	var done []*merged[B]
	for _, w := range m.open {
		if m.due(w) <= low {
			done = append(done, w)
		}
	}
	slices.SortFunc(done, func(a, b *merged[B]) int {
		return cmp.Or(cmp.Compare(a.id.end, b.id.end), cmp.Compare(a.id.number, b.id.number))
	})
	for _, w := range done {
		m.emit(w)
	}
}

// due is how far a partition is that says nothing more of a window.
func (m *merger[A, B]) due(w *merged[B]) int64 {
	switch c := m.n.in.c; c.Kind {
	case window.Fixed, window.Sliding, window.Session:
		if late := w.id.end + int64(c.Late); late >= w.id.end {
			return late
		}
	case window.Periodic:
		return int64(w.id.number) + 1
	case window.Global, window.Count:
	}
	return math.MaxInt64
}

func (m *merger[A, B]) end() error {
	return m.finish(func() error {
		m.begin()
		m.emitUpTo(math.MaxInt64)
		return m.flush()
	})
}
