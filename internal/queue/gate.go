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

// NewGate returns a gate for so many jobs at once. Queues share its slots by weight.
func NewGate(concurrency int) *Gate { return newGate(concurrency, byWeight) }

// NewStrictGate returns a gate at which a queue has no slot while jobs wait in a heavier one.
func NewStrictGate(concurrency int) *Gate { return newGate(concurrency, strict) }

func newGate(concurrency int, o order) *Gate {
	return &Gate{
		demand: demand{concurrency: concurrency, order: o},
		inlets: make(map[*source]*Inlet), idle: make(chan struct{}),
	}
}

// An Inlet is one type's place at the gate.
type Inlet struct {
	gate   *Gate
	source *source
	ask    func(n int)
}

// Inlet joins a type with its queue's weight. All are joined before the first is opened.
func (g *Gate) Inlet(weight int) *Inlet {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := &Inlet{gate: g, source: g.demand.add(weight)}
	g.inlets[i.source] = i
	return i
}

// Close ends all asking: what was asked for may still come.
func (g *Gate) Close() { g.do(func(d *demand) { d.stopped = true }) }

// Closed reports whether asking has ended.
func (g *Gate) Closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.demand.stopped
}

// Idle is closed once the gate is closed, nothing that was asked for can come any more,
// and the last job has left the hand.
func (g *Gate) Idle() <-chan struct{} { return g.idle }

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
		g.inlets[a.source].ask(a.n)
	}
	if g.demand.quiet() {
		select {
		case <-g.idle:
		default:
			close(g.idle)
		}
	}
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

// Standing reports whether what was asked for last may wait for jobs to come; if not, jobs
// are known to wait, and others wait for the answer.
func (i *Inlet) Standing() bool {
	i.gate.mu.Lock()
	defer i.gate.mu.Unlock()
	return !i.source.greedy
}

// Delivered tells that n jobs are in hand and backlog more wait.
func (i *Inlet) Delivered(n int, backlog uint64) {
	i.gate.do(func(d *demand) { d.delivered(i.source, n, backlog) })
}

// Empty tells that none wait.
func (i *Inlet) Empty() { i.gate.do(func(*demand) { i.source.backlog = 0 }) }

// Returned tells that n jobs that were asked for will not come.
func (i *Inlet) Returned(n int) { i.gate.do(func(d *demand) { d.returned(i.source, n) }) }

// Finished tells that a job left the hand, its handler having run for so long.
func (i *Inlet) Finished(ran time.Duration) {
	i.gate.do(func(d *demand) { d.finished(i.source, ran) })
}
