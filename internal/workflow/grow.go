package workflow

import "slices"

// Grow returns s with steps added by one of its steps, while that runs. Conditions of the added ones name
// steps by their number in the result, where the added ones follow the others. It reports false if that
// step has added steps of these names before, since it may run twice.
//
// What is added comes after the step that adds it, however far: so nothing of it can run, and the workflow
// cannot end, before that step has. The result is to be stored first, then the tally of [Graph.Extend] on the
// condition that the step is still pending, and then the end of the step.
func (s *Spec) Grow(by int, added []Step) (*Spec, bool, error) {
	if by < 0 || by >= len(s.Steps) {
		return nil, false, invalid("workflow", s.ID, "has no step %d that could add some", by)
	}
	known := make(map[string]*int, len(s.Steps))
	for i := range s.Steps {
		known[s.Steps[i].Name] = s.Steps[i].AddedBy
	}
	have := 0
	for i := range added {
		adder, there := known[added[i].Name]
		switch {
		case !there:
		case adder == nil || *adder != by:
			return nil, false, invalid("step", added[i].Name, "cannot be added by %s, since there is one of this name", s.Steps[by].Name)
		default:
			have++
		}
	}
	switch have {
	case 0:
	case len(added):
		return s, false, nil
	default:
		return nil, false, invalid("workflow", s.ID, "%d of the %d steps that %s adds have names that are taken", have, len(added), s.Steps[by].Name)
	}
	next := *s
	next.Steps = append(slices.Clip(s.Steps), added...)
	for i := len(s.Steps); i < len(next.Steps); i++ {
		next.Steps[i].AddedBy = &by
	}
	g, err := NewGraph(&next)
	if err != nil {
		return nil, false, err
	}
	behind := g.behind(by)
	for i := len(s.Steps); i < len(next.Steps); i++ {
		if next.Steps[i].UndoOf == nil && !behind[i] {
			return nil, false, invalid("step", next.Steps[i].Name, "does not come after %s, which adds it", s.Steps[by].Name)
		}
	}
	return &next, true, nil
}

// behind returns the steps that come after a step, however far.
func (g *Graph) behind(step int) []bool {
	behind := make([]bool, len(g.Steps))
	for todo := []int{step}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, d := range g.feeds[at] {
			if !behind[d] {
				behind[d] = true
				todo = append(todo, d)
			}
		}
	}
	return behind
}

// Restart returns the tally of a generation in which all steps are pending.
func (g *Graph) Restart(gen int) Tally {
	next := NewTally(g.ID, gen, len(g.Steps))
	next.Since = gen
	g.close(&next)
	return next
}

// Retry returns the tally of the next generation of a workflow that is dead or cancelled: what failed or
// was skipped is pending again, and so is what was undone. It reports false if it succeeded or goes on.
func (g *Graph) Retry(t *Tally) (Tally, bool) {
	o, ended := g.Outcome(t)
	if !ended || o.State == PhaseSucceeded {
		return *t, false
	}
	next := NewTally(t.ID, t.Gen+1, len(g.Steps))
	next.Since = t.Since
	for _, i := range g.order {
		if undone := g.undo[i] >= 0 && t.At(g.undo[i]) != Skipped; t.At(i) == Succeeded && !undone {
			next.Bits.set(i, Succeeded)
		}
	}
	g.close(&next)
	return next, true
}
