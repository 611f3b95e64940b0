package workflow

import "slices"

// look reads the tally, and the graph if the one that is known has not all its steps.
func (m *model) look(pause func(), g **Graph) (t Tally, seq int) {
	pause()
	t, seq = *m.tally, m.tallied
	if *g == nil || !(*g).Knows(&t) {
		pause()
		*g = m.graph
	}
	return (*g).Extend(&t), seq
}

// write stores a tally if that of a sequence is still the last one.
func (m *model) write(t Tally, seq int) bool {
	if m.tallied != seq {
		return false
	}
	m.tally, m.tallied = &t, m.sequence()
	return true
}

// create is what whoever starts a workflow does.
func (m *model) create(pause func()) {
	pause()
	if m.driver == nil && len(m.final[1]) == 0 {
		m.driver = &modelMsg{seq: m.sequence(), gen: 1}
	}
	pause()
	g := m.graph
	if m.tally == nil { // on the condition that there is none
		t := NewTally("w", 1, len(g.Steps))
		t = g.Close(&t)
		m.write(t, m.tallied)
	}
	t, _ := m.look(pause, &g)
	if t.Abandoned || t.Gen > 1 {
		return
	}
	m.release(pause, g, &t, g.Open(&t))
	m.begun[1] = true
}

// drive is what the driver does when it fires, perhaps at its deadline.
func (m *model) drive(pause func(), gen int, late bool) {
	pause()
	if m.tally == nil && !m.weak.unbarred {
		pause()
		if m.tally == nil { // on the condition that there is none
			m.write(Tally{ID: "w", Gen: 1, Abandoned: true}, m.tallied)
		}
	}
	if m.tally == nil || m.tally.Abandoned {
		pause()
		m.driver = nil
		return
	}
	for {
		var g *Graph
		t, seq := m.look(pause, &g)
		switch {
		case t.Gen > gen:
			return // acked
		case t.Gen < gen:
			next, ok := g.Retry(&t)
			if !ok {
				m.fail("generation %d is to be retried, and goes on: %v, %+v", t.Gen, t, g.Steps)
				return
			}
			pause()
			if !m.write(next, seq) {
				continue
			}
			t = next
		case late:
			next, first := g.Cancel(&t, "deadline")
			if first {
				pause()
				if !m.write(next, seq) {
					continue
				}
				m.late++
			}
			t = next
		}
		m.release(pause, g, &t, g.Open(&t))
		m.begun[gen] = true
		return
	}
}

// release publishes the jobs of steps, or ends the workflow.
func (m *model) release(pause func(), g *Graph, t *Tally, steps []int) {
	for _, i := range steps {
		pause()
		w := m.queue[i]
		if w == nil || w.gen < t.Gen && !m.weak.refused { // on the condition that nothing newer of its id is there
			m.queue[i] = &modelMsg{seq: m.sequence(), gen: t.Gen}
		}
	}
	o, ended := g.Outcome(t)
	if !ended {
		return
	}
	pause()
	if len(m.final[t.Gen]) == 0 { // on the condition that the driver has not ended
		m.final[t.Gen] = append(m.final[t.Gen], o.State)
	}
	pause()
	if m.driver != nil && m.driver.gen == t.Gen {
		m.driver = nil
	}
}

// A modelHolder has a job in hand, or believes so.
type modelHolder struct {
	*model
	pause func()
	proc  *modelProc
	step  int
	msg   modelMsg
	graph *Graph // as it was read last

	inSilence bool // it counts what no event says
}

func (h *modelHolder) settle() {
	switch {
	case h.step == canceller:
		h.carryOut()
		return
	case h.step <= stopper:
		h.stopOthers()
		return
	}
	life := modelLife{h.step, h.msg.gen}
	if h.msg.delivered > 1 {
		h.pause()
		if how := h.events[life]; how != Pending {
			h.arrive(how)
			h.ack()
			return
		}
		if h.hasSucceeded() {
			h.pause()
			h.events[life] = Succeeded
			h.arrive(Succeeded)
			h.ack()
			return
		}
		h.pause()
		if h.newest() { // lost: its successor
			h.queue[h.step] = &modelMsg{seq: h.sequence(), gen: h.msg.gen, lost: true}
		}
		return
	}
	if !h.weak.unchecked {
		t, _ := h.look(h.pause, &h.graph)
		if t.Gen != h.msg.gen || t.At(h.step) != Pending {
			h.counted(&t)
			h.ack()
			return
		}
	}
	h.judgeStart()
	h.runs[life]++
	h.started++
	how := Succeeded
	if h.chance(.25) {
		how = Failed
	}
	if h.chance(.15) && !h.grow() {
		return
	}
	h.inSilence = how == Succeeded && !h.msg.lost && h.msg.gen == 1 && h.silent[h.step]
	if !h.inSilence { // else its bit is all that is written
		h.pause()
		if h.events[life] != Pending || !h.newest() {
			return // lost: it writes nothing
		}
		h.events[life] = how
	}
	if h.weak.ackFirst {
		h.ack()
	}
	if h.arrive(how) {
		h.ack()
	}
}

// hasSucceeded writes the tally again, so that whoever had the job before counts nothing of it any more that no event
// says, and reports whether he has.
func (h *modelHolder) hasSucceeded() bool {
	for !h.weak.unbarredEnd {
		t, seq := h.look(h.pause, &h.graph)
		if t.Gen != h.msg.gen || t.At(h.step) != Pending {
			return t.Gen == h.msg.gen && t.At(h.step) == Succeeded
		}
		h.pause()
		if h.write(t, seq) {
			return false
		}
	}
	return false
}

// counted does what follows from the end of a step that was counted: whoever did so may have died before that, and its
// event, of a type that writes none, is no way to tell.
func (h *modelHolder) counted(t *Tally) {
	how := t.At(h.step)
	if t.Gen != h.msg.gen || h.weak.unfinished {
		return
	}
	if life := (modelLife{h.step, h.msg.gen}); h.msg.lost && h.events[life] == Pending {
		h.pause()
		h.events[life] = how
	}
	h.arrive(how)
}

// judgeStart notes a start that should not be.
func (h *modelHolder) judgeStart() {
	t := h.model.graph.Extend(h.tally)
	g, step := h.model.graph, h.step
	if t.Gen != h.msg.gen || t.At(step) != Pending {
		if h.weak.unchecked {
			h.fail("step %d ran again after it was counted", step)
		}
		return // it was counted after the look: its holder was frozen in between
	}
	if g.Gate(&t, step) != Open {
		h.fail("step %d started, its gate not open: %v", step, t)
	}
	of := g.Steps[step].UndoOf
	if of == nil {
		return
	}
	h.undone++
	for y, i := range g.undo {
		if i >= 0 && t.At(i) == Pending && slices.Contains(g.before(y), *of) {
			h.fail("step %d undoes before %d, which is behind, is undone", step, y)
		}
	}
}

func (h *modelHolder) newest() bool {
	w := h.queue[h.step]
	return w != nil && w.seq == h.msg.seq
}

func (h *modelHolder) ack() {
	h.pause()
	if h.newest() {
		delete(h.queue, h.step)
	}
}

// arrive counts the end of the step, and releases what that opens. It reports false if it was lost before that, and no
// event says how it ended.
func (h *modelHolder) arrive(how State) bool {
	for {
		t, seq := h.look(h.pause, &h.graph)
		if t.Gen != h.msg.gen {
			return true
		}
		next, first := h.graph.End(&t, h.step, how)
		if first && h.inSilence && !h.weak.unheld && !h.alive(h.proc) {
			return false
		}
		if first {
			h.pause()
			if !h.write(next, seq) {
				continue
			}
		} else if was := t.At(h.step); was != how && !h.inSilence && (was != Skipped || !h.graph.Steps[h.step].waits()) {
			h.fail("step %d counted as %v, ended %v", h.step, was, how)
		}
		h.stopLater(&next)
		h.release(h.pause, h.graph, &next, h.graph.Opens(&next, h.step))
		return true
	}
}

// stopLater has a job of its own cancel the others.
func (h *modelHolder) stopLater(t *Tally) {
	if t.Stopped == nil || len(h.graph.Stops(t)) == 0 {
		return
	}
	h.pause()
	if id := stopper - t.Gen; h.queue[id] == nil {
		h.queue[id] = &modelMsg{seq: h.sequence(), gen: t.Gen}
		h.model.stops++
	}
}

// stopOthers is what that job does. What it cancels ends as failed, which is one of the ways in which a run does.
func (h *modelHolder) stopOthers() {
	t, _ := h.look(h.pause, &h.graph)
	if t.Gen == h.msg.gen {
		h.release(h.pause, h.graph, &t, h.graph.Open(&t))
	}
	h.ack()
}

// grow adds a step or two. It reports false if the step is not its own any more.
func (h *modelHolder) grow() bool {
	for {
		t, seq := h.look(h.pause, &h.graph)
		h.pause()
		g, specSeq := h.model.graph, h.specSeq
		if !h.weak.deposed && (t.Gen != h.msg.gen || t.At(h.step) != Pending) {
			return false
		}
		spec, first, err := g.Grow(h.step, h.addition(g))
		if err != nil {
			return true // of an undo: nothing can come after it
		}
		if first {
			next, err := NewGraph(spec)
			if err != nil {
				panic(err)
			}
			h.pause()
			if h.specSeq != specSeq {
				continue
			}
			h.model.graph, h.specSeq = next, h.sequence()
			g = next
			h.grown++
		}
		h.graph = g
		next := g.Extend(&t)
		if h.weak.deposed {
			next = NewTally(t.ID, t.Gen, len(g.Steps))
			for i := range t.N {
				next.Bits.set(i, t.At(i))
			}
			next.Cancelled = t.Cancelled
		}
		h.pause()
		if h.write(next, seq) {
			return true
		}
	}
}

// addition is what the step adds, the same in each of its runs.
func (h *modelHolder) addition(g *Graph) []Step {
	name := "g" + g.Steps[h.step].Name
	if len(name) > 4 {
		name = "many"
	}
	mode := []Mode{AllSucceeded, AllEnded, OneFailed}[h.step%3]
	n := len(g.Steps)
	if i := slices.IndexFunc(g.Steps, func(s Step) bool { return s.Name == name }); i >= 0 {
		n = i
	}
	add := []Step{{Name: name, Kind: KindJob, Type: "t", After: []Condition{{Mode: mode, Of: []int{h.step}}}}}
	if h.step%2 == 0 {
		add = append(add, Step{Name: name + "b", Kind: KindJob, Type: "t", After: []Condition{{Mode: AllEnded, Of: []int{n}}}})
		add = append(add, Step{Name: UndoName(name), Kind: KindJob, Type: "t", UndoOf: &n})
	}
	return add
}

// carryOut is what the job does that cancels.
func (h *modelHolder) carryOut() {
	var t Tally
	for {
		var seq int
		t, seq = h.look(h.pause, &h.graph)
		if t.Gen != h.msg.gen {
			h.ack()
			return
		}
		next, first := h.graph.Cancel(&t, "requested")
		if !first {
			break
		}
		h.pause()
		if h.write(next, seq) {
			t = next
			break
		}
	}
	h.release(h.pause, h.graph, &t, h.graph.Open(&t))
	h.ack()
}
