package queue

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// A Gate shares a worker's slots among the types that it pulls: the miller who opens
// the sluice only as far as the wheel can turn. It is safe for concurrent use.
type Gate struct {
	mu        sync.Mutex
	demand    demand
	inlets    map[*source]*Inlet
	places    map[[2]string]*Inlet // by queue and type
	listeners []*Listener
	pools     map[PoolKey]*Pool
	keys      map[string]string // type to key
	paused    map[string]bool   // queues
	idle      chan struct{}     // closed when the gate is closed and nothing is in hand or asked for
	alarm     *time.Timer       // for what becomes possible by itself; nil until that is needed
	limited   chan struct{}     // there are limits

	listening bool // the listeners are to listen
	reminders atomic.Int64

	rebuilt int
	grace   time.Duration
	overran func([]job.Record)
	swept   time.Time // when running jobs were looked at last
}

// NewGate returns a gate for so many jobs at once. Queues share its slots by weight.
func NewGate(concurrency int) *Gate { return newGate(concurrency, byWeight) }

// NewStrictGate returns a gate at which a queue has no slot while jobs wait in a heavier one.
func NewStrictGate(concurrency int) *Gate { return newGate(concurrency, strict) }

func newGate(concurrency int, o order) *Gate {
	return &Gate{
		demand: demand{concurrency: concurrency, order: o, budget: newBudget()},
		inlets: make(map[*source]*Inlet), places: make(map[[2]string]*Inlet), pools: make(map[PoolKey]*Pool),
		keys: make(map[string]string), paused: make(map[string]bool),
		idle: make(chan struct{}), limited: make(chan struct{}, 1),
	}
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

// Rebuilt returns how many subscriptions were found deaf and made anew.
func (g *Gate) Rebuilt() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rebuilt
}

// Pause ends the asking for jobs of a queue: what still comes and what has not started is
// handed back, and running jobs finish.
func (g *Gate) Pause(queue string) { g.pause(queue, true) }

// Resume ends the pause of a queue.
func (g *Gate) Resume(queue string) { g.pause(queue, false) }

// Hold ends the asking, of all queues or of some, and lets it go on for the others. What was
// asked for may still come, and may start.
func (g *Gate) Hold(all bool, queues ...string) {
	g.do(func(d *demand) {
		d.held = all
		for s, i := range g.inlets {
			s.held = slices.Contains(queues, i.queue)
		}
	})
}

func (g *Gate) pause(queue string, on bool) {
	g.do(func(*demand) {
		g.paused[queue] = on
		for s, i := range g.inlets {
			if i.queue == queue {
				s.paused = on
			}
		}
	})
}

// do applies a change and passes on what it makes possible.
func (g *Gate) do(change func(*demand)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(&g.demand)
	now := g.now()
	for _, a := range g.demand.plan(now) {
		a.source.unsent = true
		g.inlets[a.source].ask(a.n)
	}
	if len(g.demand.limits) > 0 {
		g.setAlarm(now)
	}
	if deaf := g.demand.deaf(); deaf != g.listening {
		g.setListening(deaf)
	}
	if g.demand.quiet() {
		select {
		case <-g.idle:
		default:
			close(g.idle)
		}
	}
}

// now is the present if that makes a difference: without a limit it does not.
func (g *Gate) now() (t time.Time) {
	if len(g.demand.limits) > 0 {
		t = time.Now()
	}
	return t
}

// setAlarm has a plan made when one is due though nothing happens.
func (g *Gate) setAlarm(now time.Time) {
	at := g.demand.wake()
	if at.IsZero() {
		return
	}
	if g.alarm == nil {
		g.alarm = time.AfterFunc(at.Sub(now), func() { g.do(func(*demand) {}) })
		return
	}
	g.alarm.Reset(at.Sub(now))
}
