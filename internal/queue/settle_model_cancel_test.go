package queue

import (
	"slices"

	"github.com/millhand/millhand/internal/job"
)

// A modelWorker is where holders are. It has no other memory than the orders that it knows of.
type modelWorker struct {
	cut    bool         // off: it hears nothing, and is handed nothing
	behind bool         // it is back, and has not read the orders again
	knows  map[int]bool // lives that are to be cancelled
}

// A modelOrder is an order to cancel lives of an id.
type modelOrder struct {
	lives []int
	done  bool // it was carried out, and holds for a while
}

// ordered reports whether an order is left that nobody has carried out.
func (m *model) ordered() bool {
	for _, o := range m.orders {
		if !o.done {
			return true
		}
	}
	return false
}

// orderSteps are what else happens where jobs are cancelled.
func (m *model) orderSteps() []modelStep {
	return []modelStep{
		{50, m.comeNear},
		{50, m.fire},
		{5, m.cut},
		{20, m.reconnect},
		{20, m.follow},
		{10, m.claim},
		{10, m.forgetOrder},
	}
}

func (m *model) cut() { m.workers[m.rnd.IntN(len(m.workers))].cut = true }

func (m *model) reconnect() {
	if w := m.workers[m.rnd.IntN(len(m.workers))]; w.cut {
		w.cut, w.behind = false, true
	}
}

// follow has a worker read what there is of orders.
func (m *model) follow() {
	w := m.workers[m.rnd.IntN(len(m.workers))]
	if w.cut {
		return
	}
	w.behind = false
	clear(w.knows)
	for _, o := range m.orders {
		for _, life := range o.lives {
			w.knows[life] = true
		}
	}
}

// forgetOrder has an order expire. By then nobody has in hand what was delivered before it was given.
func (m *model) forgetOrder() {
	id := m.rnd.IntN(modelIDs)
	if o := m.orders[id]; o != nil && o.done && !slices.ContainsFunc(o.lives, m.inHand) {
		delete(m.orders, id)
	}
}

func (m *model) inHand(life int) bool {
	for h := range m.holding {
		if h.life == life {
			return true
		}
	}
	return false
}

// claim has a worker carry out an order that is there, since whoever gave it may be dead.
func (m *model) claim() {
	if m.weak.unclaimed {
		return
	}
	for id := range modelIDs {
		if o := m.orders[id]; o != nil && !o.done && m.chance(.5) {
			c := &modelCanceller{model: m, id: id, life: o.lives[len(o.lives)-1]}
			m.startProc(func(pause func()) {
				c.pause = pause
				c.carryOut()
			})
		}
	}
}

// cancel has somebody cancel whatever job has an id.
func (m *model) cancel(id int) {
	if !m.checked {
		return
	}
	c := &modelCanceller{model: m, id: id}
	m.startProc(func(pause func()) {
		c.pause = pause
		c.cancel()
	})
}

// A modelCanceller cancels one job by the rules.
type modelCanceller struct {
	*model
	id, life int
	unsure   bool // whether it started: a worker did not answer, or did not answer whoever gave the order
	pause    func()
}

func (c *modelCanceller) cancel() {
	w := c.newestJob(c.id)
	if w == nil {
		return
	}
	c.life = w.life
	c.pause()
	if c.end() != "" {
		return
	}
	c.pause()
	o := c.orders[c.id]
	if o == nil {
		o = new(modelOrder)
		c.orders[c.id] = o
	}
	if !slices.Contains(o.lives, c.life) {
		o.lives = append(o.lives, c.life)
	}
	o.done = false
	c.carryOut()
}

// carryOut does what an order says, from the beginning: whoever began may have died at any step.
func (c *modelCanceller) carryOut() {
	c.pause()
	if c.ask() {
		c.answer()
		if c.weak.forgetful {
			c.pause()
			delete(c.orders, c.id)
		}
		return // its handler is told
	}
	for first := true; ; first = false {
		c.pause()
		w := c.newestJob(c.id)
		if w == nil || w.life != c.life || c.weak.oneLook && !first {
			break
		}
		seen := *w
		c.pause()
		if c.weak.deleteFirst {
			delete(c.msgs, seen.seq)
			c.pause()
		}
		last := c.last(c.id).seq
		switch end := c.end(); {
		case end == job.EventCancelled: // the message is what is left of it
		case end != "":
			c.pause()
			c.done(c.id, c.life)
			return // it has ended in another way
		default:
			c.pause()
			if c.append(modelEvent{msg: seen.seq, id: c.id, life: c.life, kind: job.EventCancelled, started: seen.ran || c.unsure}, last) == 0 || c.chance(.05) {
				continue // refused, or its confirmation lost
			}
		}
		c.pause()
		c.holdID(&seen)
		c.remove(&seen)
	}
	c.pause()
	if c.end() == job.EventCancelled {
		c.answer()
	}
	c.pause()
	c.done(c.id, c.life)
}

// remove deletes a message. A schedule that is about to be due may have been collected, and then it
// fires all the same, and takes a later one of its id with it: so it is let fire first. One that was
// far from due when it was read is deleted in time.
func (c *modelCanceller) remove(seen *modelMsg) {
	for !c.weak.unguarded && (seen.near && c.msgs[seen.seq] != nil || c.collected(seen)) {
		c.pause()
	}
	delete(c.msgs, seen.seq)
}

// holdID keeps the id taken where the job may have done something.
func (c *modelCanceller) holdID(seen *modelMsg) {
	if !seen.ran && !c.unsure || seen.until <= c.now {
		return
	}
	c.timed[c.life].fires = c.timed[c.life].fires || !seen.ready
	hold := *seen
	hold.hold, hold.ready, hold.near = true, false, false
	c.publish(hold, seen.seq) // where it is refused, the next look finds why
	c.pause()
}

// ask has all workers note the order, and reports whether one of them runs the job.
func (c *modelCanceller) ask() (running bool) {
	for _, w := range c.workers {
		c.pause()
		if w.cut {
			c.unsure, c.timed[c.life].mayRun = true, true
			continue
		}
		if !c.weak.answerFirst {
			w.knows[c.life] = true
		}
		for h := range c.holding {
			if h.worker == w && h.life == c.life && h.running {
				h.told, running = true, true
			}
		}
	}
	return running
}

// end returns how the life has ended, empty if it has not.
func (c *modelCanceller) end() job.EventKind {
	for _, e := range c.history(c.id) {
		if e.life == c.life && e.kind.Final() {
			c.unsure = c.unsure || e.started
			return e.kind
		}
	}
	return ""
}

// answer tells whoever cancels that the job does not start any more: but with a worker that does
// not know of it yet.
func (c *modelCanceller) answer() { c.cancelled[c.life] = true }

// done notes that the order for a life is carried out. It holds on, for what was delivered before and
// has not come to its check.
func (m *model) done(id, life int) {
	o := m.orders[id]
	switch {
	case o == nil || o.lives[len(o.lives)-1] != life:
	case m.weak.dismissed:
		delete(m.orders, id)
	default:
		o.done = true
	}
}

// ordered reports whether the job in hand is to be cancelled. Whoever is back waits until it knows.
func (h *modelHolder) ordered() bool {
	h.pause()
	for h.worker.behind && !h.weak.unread {
		h.pause()
	}
	return h.worker.knows[h.life] && !h.weak.unchecked
}

// drop ends a job that is not to start.
func (h *modelHolder) drop() { h.finish(job.EventCancelled) }

// endTold ends a job whose handler was told to end: what it has done is done.
func (h *modelHolder) endTold() {
	kind := job.EventCancelled
	if h.chance(.3) {
		kind = job.EventSucceeded
	}
	if !h.writeEvent(kind) {
		return
	}
	h.effect(kind)
	h.pause()
	h.done(h.id, h.life)
}
