package flow

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/window"
)

// horizon is the watermark of a layer of partitions with windows of event time, and what it follows from:
// how far each source is. Where several goroutines share the events of a source, it is as far as the one
// is that is furthest behind, of those that have events of it in hand. So an event that is in the order of
// its source is never late because another one has overtaken it, and of four files that are read at
// once none is late because another one is read faster.
type horizon struct {
	delay    int64
	earliest int64 // event time that the windows take
	idle     time.Duration
	first    atomic.Int64 // event time of the first event that any source has shown
	lanes    []*progress

	goroutines []*goroutine // the sources
	inputs     []*input
	index      map[int]int // of their numbers in the plan

	mu      sync.Mutex
	sources window.Sources
	origins []origin
}

// origin is one source.
type origin struct {
	greatest int64     // event time of what has been dealt with
	inHand   int       // deliveries that goroutines have in hand
	seen     time.Time // when it was heard of; at first, when it began
	silent   bool
	ended    bool
}

// input is a stream above the partitions.
type input struct {
	from, to int // its sources
	open     int // its goroutines that have not ended
}

// progress is how far a goroutine above the partitions is.
type progress struct {
	mine    []int // the sources of the deliveries it has in hand; -1: none of these
	origins []struct {
		inHand   int
		greatest int64
	}
}

// newHorizon returns nil for windows that are not of event time.
func newHorizon(c window.Config, idle time.Duration) *horizon {
	if !c.Kind.EventTime() {
		return nil
	}
	h := &horizon{delay: int64(c.Delay), earliest: c.Earliest(), idle: idle}
	h.first.Store(noTime)
	return h
}

const noTime = int64(window.Unset)

// above is where the layer above stands: its sources are those of these windows, if there are any, and
// not those of others below.
func (h *horizon) above(e env) env {
	e = e.above()
	e.origins, e.depth = nil, 0
	if h != nil {
		e.origins = &h.goroutines
		h.inputs = append(h.inputs, &input{from: len(h.goroutines)})
	}
	return e
}

// beside is where the stream stands that goes on in the goroutine above.
func (h *horizon) beside(e env) env {
	if h != nil {
		e.origins, e.depth = &h.goroutines, 0
		h.inputs = append(h.inputs, &input{from: len(h.goroutines)})
	}
	return e
}

// start is called when all above has been planned. The sources are also those of windows below, if these
// are in the same goroutine.
func (h *horizon) start(beside env) {
	if h == nil {
		return
	}
	h.sources = window.NewSources(max(len(h.goroutines), 1), h.delay)
	h.origins = make([]origin, len(h.goroutines))
	h.index = map[int]int{}
	for _, p := range h.lanes {
		p.origins = make([]struct {
			inHand   int
			greatest int64
		}, len(h.goroutines))
		for i := range p.origins {
			p.origins[i].greatest = noTime
		}
	}
	for i, in := range h.inputs {
		in.to = len(h.goroutines)
		if i+1 < len(h.inputs) {
			in.to = h.inputs[i+1].from
		}
	}
	now := time.Now()
	for i, g := range h.goroutines {
		h.origins[i].greatest, h.origins[i].seen = noTime, now
		h.index[g.source] = i
		// All of its events are known of when it ends, unless another layer has some of them: then it
		// counts as ended when its input has.
		if g.depth <= 1 {
			g.ended = append(g.ended, func() {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.end(i)
			})
		}
	}
	if beside.origins != nil {
		*beside.origins = append(*beside.origins, h.goroutines...)
	}
}

// end is called with the lock held, as are the following.
func (h *horizon) end(i int) {
	h.origins[i].ended = true
	h.move(i)
}

// move finds how far a source is.
func (h *horizon) move(i int) {
	o := &h.origins[i]
	at := o.greatest
	for _, p := range h.lanes {
		if p.origins[i].inHand > 0 {
			at = min(at, p.origins[i].greatest)
		}
	}
	if at != noTime && !o.silent {
		h.sources.Observe(i, at)
	}
	if o.ended && o.inHand == 0 {
		h.sources.End(i)
	}
}

// silence finds sources that have been silent for long, and returns when to look again.
func (h *horizon) silence(now time.Time) (next time.Time) {
	next = now.Add(h.idle)
	for i := range h.origins {
		o := &h.origins[i]
		due := o.seen.Add(h.idle)
		switch {
		case o.silent || o.ended || o.inHand > 0:
		case due.After(now):
			if due.Before(next) {
				next = due
			}
		default:
			o.silent = true
			h.sources.Silence(i)
		}
	}
	return next
}

// lookout is what a goroutine above the partitions tells the horizon.
type lookout[T any] struct {
	h     *horizon
	in    *input
	g     *goroutine
	at    func(T) time.Time
	lane  int
	batch int64 // greatest event time of the batch at hand
	low   int64 // the watermark before it

	progress // h.mu

	alone  *window.Sources // the watermark amid it, if this is the only goroutine
	source int             // of the batch at hand
	place  int             // of the source in alone
}

func newLookout[T any](h *horizon, l lane, at func(T) time.Time) *lookout[T] {
	in := h.inputs[len(h.inputs)-1]
	in.open++
	o := &lookout[T]{h: h, in: in, g: l.g, at: at, lane: len(h.lanes) + 1, batch: noTime, low: noTime}
	h.lanes = append(h.lanes, &o.progress)
	if !l.g.own {
		l.g.delivered = append(l.g.delivered, o.delivered)
	}
	return o
}

// event returns the time of an event and the watermark with it. A time that cannot be told is noTime.
func (o *lookout[T]) event(v T) (at, low int64) {
	at = nanoseconds(o.at(v))
	if at == noTime || at < o.h.earliest {
		return noTime, o.low
	}
	if o.batch == noTime && o.h.first.Load() == noTime {
		o.h.first.CompareAndSwap(noTime, at)
	}
	o.batch = max(o.batch, at)
	if len(o.h.lanes) > 1 {
		return at, o.low
	}
	if o.alone == nil {
		alone := window.NewSources(max(len(o.h.goroutines), 1), o.h.delay)
		o.alone = &alone
	}
	if o.source != o.g.source {
		o.source = o.g.source
		o.place = o.h.index[o.source]
	}
	o.alone.Observe(o.place, at)
	o.low = o.alone.Low()
	return at, o.low
}

// mark is called after each batch.
func (o *lookout[T]) mark(done bool) (mark, bool) {
	h := o.h
	h.mu.Lock()
	defer h.mu.Unlock()
	i, ok := h.index[o.g.source]
	if ok && o.batch != noTime {
		h.origins[i].greatest = max(h.origins[i].greatest, o.batch)
		o.origins[i].greatest = max(o.origins[i].greatest, o.batch)
		h.heard(i)
		o.batch = noTime
	}
	if done {
		o.in.open--
		for i := o.in.from; i < o.in.to && o.in.open == 0; i++ {
			h.end(i)
		}
	}
	return o.say()
}

// heard notes that there was something of a source.
func (h *horizon) heard(i int) {
	h.origins[i].silent = false
	if h.idle > 0 {
		h.origins[i].seen = time.Now()
	}
	h.move(i)
}

func (o *lookout[T]) say() (mark, bool) {
	low := o.h.sources.Low()
	if len(o.h.lanes) > 1 {
		o.low = low
	}
	return mark{lane: o.lane, low: low, greatest: o.h.sources.Greatest()}, low != noTime
}

func (o *lookout[T]) delivered(source int) {
	h := o.h
	h.mu.Lock()
	defer h.mu.Unlock()
	i, ok := h.index[source]
	if !ok {
		i = -1
	} else {
		o.origins[i].inHand++
		h.origins[i].inHand++
	}
	o.mine = append(o.mine, i)
}

func (o *lookout[T]) handled() {
	h := o.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(o.mine) == 0 {
		return
	}
	i := o.mine[0]
	o.mine = o.mine[1:]
	if i < 0 {
		return
	}
	o.origins[i].inHand--
	h.origins[i].inHand--
	h.heard(i)
}

// nanoseconds returns noTime for a time that has none in 64 bits.
func nanoseconds(t time.Time) int64 {
	if at, ok := window.Nanoseconds(t); ok {
		return at
	}
	return noTime
}
