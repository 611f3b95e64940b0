package workflow

import (
	"fmt"
	"strings"
)

// WaitsFor says what a step waits for that is pending, for people. It says nothing of one that has ended
// or may run.
func (g *Graph) WaitsFor(t *Tally, step int) (waits []string) {
	s := &g.Steps[step]
	switch {
	case t.At(step) != Pending:
		return nil
	case s.UndoOf != nil:
		return g.undoWaits(t, *s.UndoOf)
	case s.Kind == KindSignal:
		return []string{"a signal"}
	}
	for _, c := range s.After {
		if c.gate(t) != Waits {
			continue
		}
		waits = append(waits, c.text(g.pending(t, c.Of)))
	}
	return waits
}

// pending returns the names of those of some steps that have not ended.
func (g *Graph) pending(t *Tally, of []int) (names []string) {
	for _, i := range of {
		if t.At(i) == Pending {
			names = append(names, g.Steps[i].Name)
		}
	}
	return names
}

func (c *Condition) text(pending []string) string {
	names := strings.Join(pending, ", ")
	switch c.Mode {
	case AllEnded:
		return "the end of " + names
	case OneFailed:
		if c.Early {
			return "a failure of " + names
		}
		return "a failure, and the end of " + names
	case AnySucceeded:
		if len(pending) > 1 {
			return "one of " + names
		}
	case AllSucceeded:
	}
	return names
}

func (g *Graph) undoWaits(t *Tally, of int) []string {
	switch {
	case g.forward(t):
		return []string{"the end of all steps"}
	case g.undoGate(t, of, nil) == Waits:
		return []string{fmt.Sprintf("what is behind %s to be undone", g.Steps[of].Name)}
	}
	return nil
}

// ComesAfter says what a step comes after, for people.
func (g *Graph) ComesAfter(step int) (after []string) {
	for _, c := range g.Steps[step].After {
		names := make([]string, len(c.Of))
		for i, d := range c.Of {
			names[i] = g.Steps[d].Name
		}
		after = append(after, c.text(names))
	}
	return after
}

// Needs returns the names of the steps that one comes directly after, each once.
func (g *Graph) Needs(step int) (names []string) {
	seen := make(map[int]bool)
	for _, c := range g.Steps[step].After {
		for _, d := range c.Of {
			if !seen[d] {
				seen[d] = true
				names = append(names, g.Steps[d].Name)
			}
		}
	}
	return names
}
