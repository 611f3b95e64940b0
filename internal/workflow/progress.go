package workflow

import "slices"

// Extend returns t with the steps of g that it has not yet. What a step has added that has ended meanwhile,
// since its worker had lost it, never was part of the workflow: it is skipped. Everything else that is
// asked of g is about a tally that has all steps.
func (g *Graph) Extend(t *Tally) Tally {
	next := *t
	next.N = max(t.N, len(g.Steps))
	next.Bits = make(states, (next.N+3)/4)
	copy(next.Bits, t.Bits)
	for i := t.N; i < len(g.Steps); i++ {
		if by := g.Steps[i].AddedBy; by != nil && next.At(*by) != Pending {
			next.Bits.set(i, Skipped)
		}
	}
	return next
}

// End returns t with the end of a step, and whatever is skipped by that. It reports false if the step had
// ended before: then t is as it was.
func (g *Graph) End(t *Tally, step int, s State) (Tally, bool) {
	if t.At(step) != Pending {
		return *t, false
	}
	next := g.Extend(t)
	next.Bits.set(step, s)
	if of := &g.Steps[step]; g.FailFast && s == Failed && !of.Optional && of.UndoOf == nil && !next.halts() && g.forward(&next) {
		next.Stopped = &step
	}
	g.close(&next)
	return next, true
}

// Fail returns t with a group as certain to fail, which has not ended. It reports false if that was known or it has ended.
func (g *Graph) Fail(t *Tally, step int) (Tally, bool) {
	if t.At(step) != Pending || t.fails(step) {
		return *t, false
	}
	next := g.Extend(t)
	next.Failing = append(slices.Clone(t.Failing), step)
	g.close(&next)
	return next, true
}

// Cancel returns t cancelled, with whatever is skipped by that. It reports false if it was before, or if
// nothing is left to be cancelled: what has been done is then undone, or is not.
func (g *Graph) Cancel(t *Tally, reason string) (Tally, bool) {
	if t.Cancelled || !g.forward(t) {
		return *t, false
	}
	next := g.Extend(t)
	next.Cancelled, next.Reason = true, reason
	g.close(&next)
	return next, true
}

// Close returns t with all steps as skipped that can never run: the tally of a workflow that begins.
func (g *Graph) Close(t *Tally) Tally {
	next := g.Extend(t)
	g.close(&next)
	return next
}

// close marks in t, whose bits are its own, what can never run. What is skipped shuts what is behind it,
// and makes needless what nothing else waits for.
func (g *Graph) close(t *Tally) {
	for _, i := range g.order {
		if t.At(i) == Pending && (g.gate(t, i) == Shut || t.halts() && g.Steps[i].waits()) {
			t.Bits.set(i, Skipped)
		}
	}
	for _, i := range slices.Backward(g.order) {
		if t.At(i) == Pending && g.needless(t, i) {
			t.Bits.set(i, Skipped)
		}
	}
	for of, i := range g.undo {
		if i >= 0 && t.At(i) == Pending && g.undoGate(t, of, make([]bool, len(g.Steps))) == Shut {
			t.Bits.set(i, Skipped)
		}
	}
}

// needless reports whether a step is a timer or signal that nothing waits for any more.
func (g *Graph) needless(t *Tally, step int) bool {
	return g.Steps[step].waits() && len(g.feeds[step]) > 0 &&
		!slices.ContainsFunc(g.feeds[step], func(d int) bool { return t.At(d) == Pending && g.gate(t, d) != Open })
}

// Opens returns the steps that may run now, of those which the end of a step may have opened: what is
// directly behind it, or behind what was skipped with it. Some may run already. The failure that stops all others
// has had steps skipped that are not behind it.
func (g *Graph) Opens(t *Tally, step int) []int {
	if t.Stopped != nil && *t.Stopped == step {
		return g.Open(t)
	}
	var open []int
	if of := g.Steps[step].UndoOf; of != nil {
		blocked := g.blocked(t)
		for _, i := range g.before(*of) {
			open = g.appendUndo(open, t, i, blocked)
		}
		return open
	}
	seen := make([]bool, len(g.Steps))
	for todo := []int{step}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, d := range g.feeds[at] {
			if seen[d] {
				continue
			}
			seen[d] = true
			switch {
			case t.At(d) == Skipped:
				todo = append(todo, d)
			case t.At(d) == Pending && g.gate(t, d) == Open:
				open = append(open, d)
			}
		}
	}
	return g.appendUndos(open, t)
}

// Open returns all steps that may run now. Some may run already.
func (g *Graph) Open(t *Tally) []int {
	var open []int
	for _, i := range g.order {
		if t.At(i) == Pending && g.gate(t, i) == Open {
			open = append(open, i)
		}
	}
	return g.appendUndos(open, t)
}

// Stops returns the steps whose jobs are to be cancelled, since the workflow is or stops at a failure: what may
// run, but for what cleans up behind others, however they end, and what undoes them.
func (g *Graph) Stops(t *Tally) []int {
	if !t.halts() {
		return nil
	}
	return slices.DeleteFunc(g.Open(t), func(i int) bool {
		after := g.Steps[i].After
		cleans := len(after) > 0 && !slices.ContainsFunc(after, func(c Condition) bool {
			return c.Mode == AllSucceeded || c.Mode == AnySucceeded
		})
		return cleans || g.Steps[i].UndoOf != nil
	})
}

// appendUndos appends all steps that may run now and undo others.
func (g *Graph) appendUndos(open []int, t *Tally) []int {
	if g.forward(t) {
		return open
	}
	blocked := g.blocked(t)
	for of := range g.undo {
		open = g.appendUndo(open, t, of, blocked)
	}
	return open
}

func (g *Graph) appendUndo(open []int, t *Tally, of int, blocked []bool) []int {
	if i := g.undo[of]; i >= 0 && t.At(i) == Pending && g.undoGate(t, of, blocked) == Open {
		return append(open, i)
	}
	return open
}

// before returns all steps that a step comes after, however far before.
func (g *Graph) before(step int) []int {
	seen := make([]bool, len(g.Steps))
	all := []int{step}
	for at := 0; at < len(all); at++ {
		for _, c := range g.Steps[all[at]].After {
			for _, d := range c.Of {
				if !seen[d] {
					seen[d] = true
					all = append(all, d)
				}
			}
		}
	}
	return all[1:]
}

// An Outcome is how a workflow ended.
type Outcome struct {
	State  Phase  // [PhaseSucceeded], [PhaseDead] or [PhaseCancelled]
	Step   string // that failed, of a dead workflow
	Undo   bool   // it failed in undoing another
	Reason string // of a cancelled workflow
}

// A Phase is what a workflow is at.
type Phase string

// The phases. The last three are ends.
const (
	PhaseRunning    Phase = "running"
	PhaseCancelling Phase = "cancelling" // what runs is still to end
	PhaseUndoing    Phase = "undoing"    // all steps have ended, and what they did is undone
	PhaseSucceeded  Phase = "succeeded"
	PhaseDead       Phase = "dead"
	PhaseCancelled  Phase = "cancelled"
)

// Outcome returns how the workflow ended, and false if it has not.
func (g *Graph) Outcome(t *Tally) (Outcome, bool) {
	for i := range g.Steps {
		if t.At(i) == Pending {
			return Outcome{}, false
		}
	}
	for _, i := range g.undo {
		if i >= 0 && t.At(i) == Failed && !g.Steps[i].Optional {
			return Outcome{State: PhaseDead, Step: g.Steps[i].Name, Undo: true}, true
		}
	}
	if t.Cancelled {
		return Outcome{State: PhaseCancelled, Reason: t.Reason}, true
	}
	if i := g.failedStep(t); i >= 0 {
		return Outcome{State: PhaseDead, Step: g.Steps[i].Name}, true
	}
	return Outcome{State: PhaseSucceeded}, true
}

// Phase returns what the workflow is at.
func (g *Graph) Phase(t *Tally) Phase {
	if o, ended := g.Outcome(t); ended {
		return o.State
	}
	switch {
	case !g.forward(t):
		return PhaseUndoing
	case t.halts():
		return PhaseCancelling
	}
	return PhaseRunning
}
