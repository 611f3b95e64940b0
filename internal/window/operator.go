package window

import "math"

// Funcs are what an [Operator] does with events.
type Funcs[K comparable, T, A any] struct {
	Zero func(K) A    // the accumulator of a key in a new window
	Fold func(A, T) A // adds an event to it

	// Merge makes one accumulator of two, for sessions that turn out to be one; the first is that of
	// the earlier session. Without it the events of open sessions are kept, and folded when they are
	// emitted.
	Merge func(a, b A) A

	// Emit gets a pane. What it leaves in the accumulator is what is folded into from then on, unless
	// the pane is final.
	Emit func(K, *A, Pane)
}

// Operator is the windows of one partition. It is not safe for concurrent use.
type Operator[K comparable, T, A any] struct {
	c    Config
	f    Funcs[K, T, A]
	step int64 // from the start of a window to that of the next
	size int64

	Sources
	due  int64 // nothing is to be done before the watermark is here
	open []*slot[K, A]
	// passed is how many of them, the first ones, have ended before the watermark.
	passed int
	last   *slot[K, A] // the one that the last event fell into
	spare  []*slot[K, A]
	number int   // of the open Periodic window
	first  int64 // start of the earliest window that there was
	empty  int64 // start of the next window that is emitted if it has no events

	sessions sessions[K, T, A]

	accumulators int
	dropped      int
}

// slot is one window with the accumulators of its keys, in the order of their first events.
type slot[K comparable, A any] struct {
	start, end int64
	index      map[K]int
	entries    []entry[K, A]
}

type entry[K comparable, A any] struct {
	key      K
	acc      A
	n        int // events since the window began
	number   int // of the Count window
	revision int
	changed  bool // since it was emitted
}

// NewOperator returns an operator without events. The configuration must pass [Config.Check].
func NewOperator[K comparable, T, A any](c Config, f Funcs[K, T, A]) *Operator[K, T, A] {
	o := &Operator[K, T, A]{
		c: c, f: f, step: c.step(), size: int64(c.Size),
		Sources: NewSources(max(c.Sources, 1), int64(c.Delay)),
		due:     math.MaxInt64, first: math.MaxInt64, empty: math.MaxInt64,
	}
	switch {
	case c.Kind == Session:
		o.sessions.byKey = map[K][]*session[K, T, A]{}
	case !c.Kind.EventTime():
		o.open = []*slot[K, A]{o.newSlot(math.MinInt64, math.MaxInt64)}
		o.last = o.open[0]
	}
	return o
}

// Accumulators returns how many accumulators there are, and how many events are kept for want of one.
func (o *Operator[K, T, A]) Accumulators() int { return o.accumulators }

// Dropped returns how many events came too late.
func (o *Operator[K, T, A]) Dropped() int { return o.dropped }

// Add folds an event into its windows and reports whether it has been. If not it is late: all its
// windows are closed. The time is at least that of [Config.Earliest]; it is of no importance for windows that
// are not of event time.
func (o *Operator[K, T, A]) Add(key K, value T, at int64) bool {
	taken := false
	switch o.c.Kind {
	case Global, Count, Periodic:
		o.fold(o.last, key, value)
		taken = true
	case Fixed:
		if s := o.at(at); s != nil {
			o.fold(s, key, value)
			taken = true
		}
	case Sliding:
		oldest := floor(at, o.step) - o.size + o.step
		for n := range o.size / o.step {
			if s := o.starting(oldest + n*o.step); s != nil {
				o.fold(s, key, value)
				taken = true
			}
		}
	case Session:
		taken = o.addToSession(key, value, at)
	}
	if !taken {
		o.dropped++
	}
	return taken
}

// Mark emits what there is of a key in the windows of this time, and keeps it.
func (o *Operator[K, T, A]) Mark(key K, at int64) {
	switch o.c.Kind {
	case Global, Count, Periodic:
		o.emitKey(o.last, key, Marked)
	case Fixed, Sliding:
		for _, s := range o.open {
			if s.start <= at && at < s.end {
				o.emitKey(s, key, Marked)
			}
		}
	case Session:
		o.markSession(key, at)
	}
}

// Period emits all there is, and keeps it.
func (o *Operator[K, T, A]) Period() {
	for _, s := range o.open {
		o.emitAll(s, Period, false)
	}
	for _, s := range o.sessions.inOrder() {
		o.emitSession(s, Period, false)
	}
}

// Tick ends a Periodic window and begins the next one.
func (o *Operator[K, T, A]) Tick() {
	o.emitAll(o.last, Done, true)
	o.number++
	o.accumulators -= len(o.last.entries)
	o.last.reset()
	o.resident(o.last)
}

// Revise emits again, as [Watermark], what late events have changed since the watermark had passed it.
func (o *Operator[K, T, A]) Revise() {
	for _, s := range o.open[:o.passed] {
		for i := range s.entries {
			if s.entries[i].changed {
				o.emit(s.start, s.end, &s.entries[i], Watermark, false)
			}
		}
	}
	for _, s := range o.sessions.inOrder() {
		if s.passed && s.changed {
			o.emitSession(s, Watermark, false)
		}
	}
}

// End emits everything that is open, in the order of its end, and forgets it: nothing more comes.
func (o *Operator[K, T, A]) End() {
	if o.c.Kind.EventTime() {
		o.finishAll()
		return
	}
	o.emitAll(o.last, Done, true)
	o.accumulators = 0
	o.last.reset()
}

func (o *Operator[K, T, A]) fold(s *slot[K, A], key K, value T) {
	i, ok := s.index[key]
	if !ok {
		i = o.newEntry(s, key)
	}
	e := &s.entries[i]
	e.acc = o.f.Fold(e.acc, value)
	e.n++
	e.changed = true
	if o.c.EveryN > 0 && e.n%o.c.EveryN == 0 {
		o.emit(s.start, s.end, e, Every, false)
	}
	if o.c.Kind == Count && e.n == o.c.N {
		o.emit(s.start, s.end, e, Done, true)
		*e = entry[K, A]{key: key, acc: o.f.Zero(key), number: e.number + 1}
	}
}

func (o *Operator[K, T, A]) newEntry(s *slot[K, A], key K) int {
	i := len(s.entries)
	s.index[key] = i
	s.entries = append(s.entries, entry[K, A]{key: key, acc: o.f.Zero(key)})
	o.accumulators++
	return i
}

func (o *Operator[K, T, A]) emitKey(s *slot[K, A], key K, t Trigger) {
	if i, ok := s.index[key]; ok && o.isThere(&s.entries[i]) {
		o.emit(s.start, s.end, &s.entries[i], t, false)
	}
}

func (o *Operator[K, T, A]) emitAll(s *slot[K, A], t Trigger, final bool) {
	for i := range s.entries {
		if o.isThere(&s.entries[i]) {
			o.emit(s.start, s.end, &s.entries[i], t, final)
		}
	}
}

// isThere reports whether there is something to be emitted. The entry of a Count window stays when it is
// full, without events, for the number of the next one.
func (o *Operator[K, T, A]) isThere(e *entry[K, A]) bool {
	return o.c.Kind != Count || e.n > 0 || o.c.Empty
}

func (o *Operator[K, T, A]) emit(start, end int64, e *entry[K, A], t Trigger, final bool) {
	e.revision++
	e.changed = false
	p := Pane{Trigger: t, Final: final, Revision: e.revision, Dropped: o.dropped}
	switch o.c.Kind {
	case Fixed, Sliding, Session:
		p.Start, p.End = start, end
	case Count:
		p.Number = e.number
	case Periodic:
		p.Number = o.number
	case Global:
	}
	o.f.Emit(e.key, &e.acc, p)
}

// newSlot returns a window without keys but the resident.
func (o *Operator[K, T, A]) newSlot(start, end int64) *slot[K, A] {
	var s *slot[K, A]
	if n := len(o.spare); n > 0 {
		s = o.spare[n-1]
		o.spare = o.spare[:n-1]
	} else {
		s = &slot[K, A]{index: map[K]int{}}
	}
	s.start, s.end = start, end
	o.resident(s)
	return s
}

// resident gives a window the key that is in it without events.
func (o *Operator[K, T, A]) resident(s *slot[K, A]) {
	if o.c.Empty {
		var key K
		o.newEntry(s, key)
	}
}

func (s *slot[K, A]) reset() {
	clear(s.index)
	clear(s.entries) // what they point to can be freed
	s.entries = s.entries[:0]
}
