package queue

import (
	"sync"
	"time"
)

// A Gate shares a worker's slots among the types that it pulls: the miller who opens
// the sluice only as far as the wheel can turn. It is safe for concurrent use.
type Gate struct {
	mu     sync.Mutex
	demand demand
	inlets map[*source]*Inlet
	idle   chan struct{} // closed when the gate is closed and nothing is in hand or asked for
}

// NewGate returns a gate for so many jobs at once.
func NewGate(concurrency int) *Gate {
	return &Gate{demand: demand{concurrency: concurrency}, inlets: make(map[*source]*Inlet), idle: make(chan struct{})}
}

// An Inlet is one type's place at the gate.
type Inlet struct {
	gate   *Gate
	source *source
	asks   chan Ask // at most one is outstanding
}

// Inlet joins a type with its queue's weight.
func (g *Gate) Inlet(weight int) *Inlet {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := &Inlet{gate: g, source: g.demand.add(weight), asks: make(chan Ask, 1)}
	g.inlets[i.source] = i
	return i
}

// Open begins to ask. Inlets are joined before.
func (g *Gate) Open() { g.do(func(*demand) {}) }

// Close ends all asking: what was asked for may still come.
func (g *Gate) Close() { g.do(func(d *demand) { d.stopped = true }) }

// InHand returns how many jobs are delivered and not finished.
func (g *Gate) InHand() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.demand.inHand
}

// do applies a change and passes on what it makes possible.
func (g *Gate) do(change func(*demand)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(&g.demand)
	for _, a := range g.demand.plan() {
		g.inlets[a.source].asks <- a.Ask // never blocks: one ask per inlet is outstanding
	}
	if g.demand.quiet() {
		select {
		case <-g.idle:
		default:
			close(g.idle)
		}
	}
}

// Idle is closed once the gate is closed, the last pull is over and the last job has
// left the hand.
func (g *Gate) Idle() <-chan struct{} { return g.idle }

// Asks delivers the pulls to send, one at a time: the next comes after the last was
// delivered in full or [Inlet.Closed].
func (i *Inlet) Asks() <-chan Ask { return i.asks }

// Delivered tells that n jobs of the pull are in hand and backlog more wait. It
// reports whether the gate is closed: they are to be handed back.
func (i *Inlet) Delivered(n int, backlog uint64) (closed bool) {
	i.gate.do(func(d *demand) {
		d.delivered(i.source, n, backlog)
		closed = d.stopped
	})
	return closed
}

// Closed tells that the pull is over.
func (i *Inlet) Closed() { i.gate.do(func(d *demand) { d.closed(i.source) }) }

// Finished tells that a job left the hand, its handler having run for so long.
func (i *Inlet) Finished(ran time.Duration) {
	i.gate.do(func(d *demand) { d.finished(i.source, ran) })
}

// Closed reports whether asking has ended.
func (g *Gate) Closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.demand.stopped
}
