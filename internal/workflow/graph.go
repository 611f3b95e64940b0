package workflow

import "slices"

// A Graph is what a [Spec] says, ready to be asked. It is never changed.
type Graph struct {
	*Spec
	order []int   // forward steps, each behind those that it comes after
	feeds [][]int // to each step, those directly after it, each once
	undo  []int   // to each step, the one that undoes it; -1: none
}

// NewGraph returns the graph of a spec, which must not change any more, or an [*InvalidError].
func NewGraph(s *Spec) (*Graph, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	g := &Graph{Spec: s, feeds: s.feeds(), undo: slices.Repeat([]int{-1}, len(s.Steps))}
	for i := range g.feeds {
		slices.Sort(g.feeds[i])
		g.feeds[i] = slices.Compact(g.feeds[i])
	}
	for _, i := range s.order() {
		if of := s.Steps[i].UndoOf; of != nil {
			g.undo[*of] = i
			continue
		}
		g.order = append(g.order, i)
	}
	return g, nil
}

// Number returns the number of the step of a name, -1 if there is none.
func (g *Graph) Number(step string) int {
	return slices.IndexFunc(g.Steps, func(s Step) bool { return s.Name == step })
}

// Knows reports whether g has all steps of t: else somebody has added some, and g is to be read again.
func (g *Graph) Knows(t *Tally) bool { return t.N <= len(g.Steps) }

// A Gate says whether a step may run.
type Gate uint8

// The gates. Open and Shut never change within a generation.
const (
	Waits Gate = iota
	Open
	Shut // it never opens
)

// Gate returns the gate of a step, whatever has become of the step itself.
func (g *Graph) Gate(t *Tally, step int) Gate {
	if of := g.Steps[step].UndoOf; of != nil {
		return g.undoGate(t, *of, nil)
	}
	return g.gate(t, step)
}

func (g *Graph) gate(t *Tally, step int) Gate {
	gate := Open
	for _, c := range g.Steps[step].After {
		switch c.gate(t) {
		case Shut:
			return Shut
		case Waits:
			gate = Waits
		case Open:
		}
	}
	return gate
}

// gate returns whether c holds. In a workflow that halts a success that is still to come is none any
// more.
func (c *Condition) gate(t *Tally) Gate {
	pending, succeeded, failed := 0, 0, 0
	for _, d := range c.Of {
		switch t.At(d) {
		case Pending:
			pending++
		case Succeeded:
			succeeded++
		case Failed:
			failed++
		case Skipped:
		}
	}
	switch c.Mode {
	case AllSucceeded:
		switch {
		case succeeded+pending < len(c.Of), pending > 0 && t.halts():
			return Shut
		case pending > 0:
			return Waits
		}
		return Open
	case AnySucceeded:
		switch {
		case succeeded > 0:
			return Open
		case pending == 0, t.halts():
			return Shut
		}
		return Waits
	case OneFailed:
		switch {
		case pending == 0 && failed == 0:
			return Shut
		case c.Early && (failed > 0 || slices.ContainsFunc(c.Of, t.fails)):
			return Open
		}
	case AllEnded:
	}
	if pending > 0 {
		return Waits
	}
	return Open
}

// undoGate returns the gate of the step that undoes step of. What is blocked may be given, if it is
// known.
func (g *Graph) undoGate(t *Tally, of int, blocked []bool) Gate {
	switch {
	case g.forward(t):
		return Waits
	case t.At(of) != Succeeded, !t.Cancelled && g.failedStep(t) < 0:
		return Shut
	}
	if blocked == nil {
		blocked = g.blocked(t)
	}
	if blocked[of] {
		return Waits
	}
	return Open
}

// forward reports whether a step is pending that undoes nothing.
func (g *Graph) forward(t *Tally) bool {
	return slices.ContainsFunc(g.order, func(i int) bool { return t.At(i) == Pending })
}

// failedStep returns a step that failed and that the workflow needs, the first of a workflow that stops at it,
// -1 if there is none.
func (g *Graph) failedStep(t *Tally) int {
	if t.Stopped != nil {
		return *t.Stopped
	}
	for _, i := range g.order {
		if t.At(i) == Failed && !g.Steps[i].Optional {
			return i
		}
	}
	return -1
}

// blocked returns the steps behind which something is still to be undone, however far behind.
func (g *Graph) blocked(t *Tally) []bool {
	blocked := make([]bool, len(g.Steps))
	for _, i := range slices.Backward(g.order) {
		blocked[i] = slices.ContainsFunc(g.feeds[i], func(d int) bool {
			return blocked[d] || g.undo[d] >= 0 && t.At(g.undo[d]) == Pending
		})
	}
	return blocked
}
