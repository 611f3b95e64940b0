package queue

import (
	"slices"
	"time"
)

// An Inlet is one type's place at the gate.
type Inlet struct {
	gate   *Gate
	queue  string
	typ    string
	source *source
	ask    func(n int)
	jobs   grips // in hand, and those of handlers that were given up
}

// Inlet joins a type of a queue of some weight. All are joined before the first is opened.
func (g *Gate) Inlet(weight int, queue, typ string) *Inlet {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := &Inlet{gate: g, queue: queue, typ: typ, source: g.demand.add(weight)}
	i.source.paused = g.paused[queue]
	g.inlets[i.source] = i
	g.places[[2]string{queue, typ}] = i
	for _, p := range g.pools {
		if g.matches(i, p.pool.key) {
			g.demand.join(i.source, p.pool)
		}
	}
	return i
}

// Open tells that jobs can be asked for from now on, with ask, which must not block nor
// call back.
func (i *Inlet) Open(ask func(n int)) {
	i.gate.do(func(d *demand) {
		i.ask = ask
		d.opened(i.source)
	})
}

// Shut tells that they cannot, until the next Open.
func (i *Inlet) Shut() { i.gate.do(func(d *demand) { d.closed(i.source) }) }

// Sending tells that what was asked for is sent now: until then, slots that fall free make it
// more. It reports whether it may wait for jobs to come; if not, jobs are known to wait, and
// others wait for the answer. It is brief if others are to have their turn soon. No more than
// so many bytes are to come, unless that is 0.
func (i *Inlet) Sending() (standing, brief bool, bytes int) {
	i.gate.mu.Lock()
	defer i.gate.mu.Unlock()
	i.source.unsent = false
	return !i.source.greedy, i.source.brief || i.source.crowded(), i.gate.demand.pullBytes(i.source)
}

// Ahead reports whether jobs are asked for before there are slots for them, so that there
// are others to run until they come.
func (i *Inlet) Ahead() bool {
	i.gate.mu.Lock()
	defer i.gate.mu.Unlock()
	return i.source.mayBeAhead()
}

// Admits reports whether jobs that come now, of what was asked for last, may start.
func (i *Inlet) Admits() bool {
	g := i.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.demand.stopped && i.source.admits(i.source.stamp, g.now())
}

// Delivered tells that jobs are in hand and backlog more wait.
func (i *Inlet) Delivered(jobs []*Delivery, backlog uint64) {
	i.gate.do(func(d *demand) {
		bytes, largest := 0, 0
		for _, h := range jobs {
			h.grip.stamp = i.source.stamp
			i.jobs.add(h)
			bytes, largest = bytes+h.size, max(largest, h.size)
		}
		d.weigh(i.source, bytes, largest)
		d.delivered(i.source, len(jobs), backlog)
	})
}

// Empty tells that none wait.
func (i *Inlet) Empty() { i.gate.do(func(*demand) { i.source.backlog = 0 }) }

// Returned tells that n jobs that were asked for will not come.
func (i *Inlet) Returned(n int) { i.gate.do(func(d *demand) { d.returned(i.source, n) }) }

// Silent tells whether the broker leaves a pull unanswered. Until it has answered, nobody waits
// for this type's turn.
func (i *Inlet) Silent(silent bool) { i.gate.do(func(*demand) { i.source.silent = silent }) }

// busy reports whether jobs are in hand.
func (i *Inlet) busy() bool {
	i.gate.mu.Lock()
	defer i.gate.mu.Unlock()
	return i.source.inHand > 0
}

// Rebuilt tells that the subscription was deaf.
func (i *Inlet) Rebuilt() {
	i.gate.mu.Lock()
	defer i.gate.mu.Unlock()
	i.gate.rebuilt++
}

// start notes that the handler of h starts now, or returns [ErrNoPermit].
func (i *Inlet) start(h *Delivery) error {
	g := i.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	full := func(p *pool) bool { return p.full(now) }
	if !i.source.admits(h.grip.stamp, now) || slices.ContainsFunc(i.source.limits, full) {
		return ErrNoPermit
	}
	h.grip.phase = running
	g.demand.started(i.source, now)
	return nil
}

// finished tells that h left the hand, its handler having run for so long, and gives its
// slot back. Its permit comes with it unless the handler was given up.
func (i *Inlet) finished(h *Delivery, ran time.Duration) {
	i.gate.do(func(d *demand) {
		d.bytes -= h.size
		d.finished(i.source, ran)
		if h.grip.phase == givenUp {
			h.grip.phase = stuck
			i.source.stuck++
		} else {
			i.jobs.remove(h)
		}
	})
}

// giveUp tells that the handler of h does not return. It is followed by finished.
func (i *Inlet) giveUp(h *Delivery) {
	i.gate.mu.Lock()
	defer i.gate.mu.Unlock()
	h.grip.phase = givenUp
}

// cameBack tells that the handler of h, which was given up, has returned: before its slot
// was given back or after that.
func (i *Inlet) cameBack(h *Delivery) {
	i.gate.do(func(*demand) {
		if h.grip.phase == stuck {
			i.source.stuck--
			i.jobs.remove(h)
		}
		h.grip.phase = back
	})
}

// until returns when the permits of h end, zero if never.
func (i *Inlet) until(h *Delivery) time.Time {
	g := i.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if at := i.source.revoked(h.grip.stamp, g.now()); !at.IsZero() {
		return at
	}
	return i.source.until()
}
