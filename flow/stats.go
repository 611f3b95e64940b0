package flow

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Meter tells, while flows run, how much is kept for the keys of a stream: see [Keyed.Metered]. Its zero
// value is ready. It may be asked at any time and from any goroutine.
type Meter struct {
	mu      sync.Mutex
	runs    map[*keys]struct{}
	dropped int // by runs that have ended
}

// Stats is what a [Meter] tells.
type Stats struct {
	// Accumulators is how many values are kept now: one for each key that there is something of, in each
	// open window; of [Reduce], one for each partition. Of a [Session] that cannot be merged it is the
	// events. 0 when no run is under way.
	Accumulators int

	// Size is the sum of what their method Size() int returns, in whatever unit that is, and 0 if they have
	// none. Of a [Join] it is how many events are kept. Events of a session that cannot be merged count 0.
	Size int

	// Dropped is how many late events were dropped since the meter was made, by all runs together.
	Dropped int
}

// Stats returns what is kept now. What a partition has at hand is counted when it is through with it, so
// up to 500 events of each are not yet in it.
func (m *Meter) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{Dropped: m.dropped}
	for run := range m.runs {
		s.Accumulators += int(run.n.Load())
		s.Size += int(run.size.Load())
		s.Dropped += int(run.dropped.Load())
	}
	return s
}

// Metered has m tell how much is kept for the keys while a flow runs. Several streams may have the same
// meter, and so may several runs of one: it has their sum. Of a [Join] either side may have one.
//
// If what is kept has a method Size() int, that is called before and after each event that is added, so
// let it be quick, such as a len.
func (k Keyed[K, T]) Metered(m *Meter) Keyed[K, T] {
	k.meter = m
	if m == nil {
		k.settings.problem = "Metered needs a Meter"
	}
	return k
}

func (m *Meter) begin(run *keys) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.runs == nil {
		m.runs = map[*keys]struct{}{}
	}
	m.runs[run] = struct{}{}
}

func (m *Meter) end(run *keys) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, run)
	m.dropped += int(run.dropped.Load())
}

// keys is what the partitions of a layer keep in a run, and bounds how many keys that is for.
type keys struct {
	max     int // 0: any number.
	metered bool
	n       atomic.Int64
	size    atomic.Int64 // as gauges have it
	dropped atomic.Int64 // late events
}

// newKeys returns the keys of a layer, until the run ends.
func newKeys(e env, maximum int, meters ...*Meter) *keys {
	k := &keys{max: maximum}
	for _, m := range meters {
		if m != nil {
			k.metered = true
			m.begin(k)
			e.finally = append(e.finally, func() { m.end(k) })
		}
	}
	return k
}

func (k *keys) add(n int) error {
	if kept := k.n.Add(int64(n)); k.max > 0 && kept > int64(k.max) {
		return fmt.Errorf("%w: more than %d", ErrTooManyKeys, k.max)
	}
	return nil
}

// gauge keeps up the size of what a partition keeps. A nil gauge is of what has no size, or of what
// nobody asks for.
type gauge[A any] struct {
	keys  *keys
	size  int
	told  int // to keys
	value A   // whose size is asked for: here, so that this costs no allocation
}

// newGauge returns the gauge of a partition.
func newGauge[A any](k *keys) *gauge[A] {
	g := &gauge[A]{keys: k}
	if _, sized := g.sizer(); !k.metered || !sized {
		return nil
	}
	return g
}

// sizer returns the value as something that has a size: if it is a pointer by itself, else by the
// address of it.
func (g *gauge[A]) sizer() (s interface{ Size() int }, ok bool) {
	if s, ok = any(&g.value).(interface{ Size() int }); ok {
		return s, true
	}
	s, ok = any(g.value).(interface{ Size() int })
	return s, ok
}

func (g *gauge[A]) of(a A) int {
	g.value = a
	size := 0
	if s, ok := g.sizer(); ok {
		size = s.Size()
	}
	var none A
	g.value = none
	return size
}

// began counts a value that is new.
func (g *gauge[A]) began(a A) A {
	if g != nil {
		g.size += g.of(a)
	}
	return a
}

// fold counts what one more event makes of a value.
func fold[A, T any](g *gauge[A], f func(A, T) A, a A, v T) A {
	if g == nil {
		return f(a, v)
	}
	before := g.of(a)
	a = f(a, v)
	g.size += g.of(a) - before
	return a
}

// tell publishes the size.
func (g *gauge[A]) tell() {
	if g != nil && g.size != g.told {
		g.keys.size.Add(int64(g.size - g.told))
		g.told = g.size
	}
}

// empty is when the partition keeps nothing any more.
func (g *gauge[A]) empty() {
	if g != nil {
		g.size = 0
		g.tell()
	}
}
