package flow

import (
	"fmt"
	"runtime"
	"time"
)

// Keyed is a stream whose events have keys: what [By] returns. All events of a key go to one of its
// partitions, each of which is a goroutine, in the order in which each goroutine above hands them on.
// It is a description as a [Stream] is one, and becomes a stream again by what is done for each key:
// [Fold], [CountBy], [Uniq] and the others.
type Keyed[K comparable, T any] struct {
	in         node[T]
	key        func(T) K
	settings   settings
	partitions int
	assign     func(K) int // nil: by hash.
	maxKeys    int
	window     Window[T]
	meter      *Meter // nil: nobody asks
}

// By gives each event of a stream a key. Unless [Keyed.Partitions] says otherwise there are
// [runtime.GOMAXPROCS] partitions; a key belongs to one by its hash, which for a string is FNV-1a as the
// broker's partitions are. Where events are to be in order by key, let By stand right behind the sources
// or behind [Stream.Ordered].
func By[K comparable, T any](s Stream[T], key func(T) K) Keyed[K, T] {
	return Keyed[K, T]{in: s.node, key: key, settings: describe("By", key)}
}

// Partitions sets the number of partitions, and so of the goroutines that work for them. n of 0 is
// [runtime.GOMAXPROCS].
func (k Keyed[K, T]) Partitions(n int) Keyed[K, T] {
	k.partitions = n
	if n < 0 {
		k.settings.problem = fmt.Sprintf("%d partitions", n)
	}
	return k
}

// PartitionBy has f say to which partition a key belongs, instead of its hash: 0 to n-1 of
// [Keyed.Partitions]. Any other number ends the flow with an error that names it and the key.
func (k Keyed[K, T]) PartitionBy(f func(K) int) Keyed[K, T] {
	k.assign = f
	if f == nil {
		k.settings.problem = "PartitionBy needs a function"
	}
	return k
}

// MaxKeys ends the flow with [ErrTooManyKeys] rather than to keep something for more than n keys at
// once, all partitions together. In windows a key counts once in each window that it is kept for. n of 0
// is no limit, which is the default.
func (k Keyed[K, T]) MaxKeys(n int) Keyed[K, T] {
	k.maxKeys = n
	if n < 0 {
		k.settings.problem = fmt.Sprintf("MaxKeys of %d", n)
	}
	return k
}

// marker is an operator that is told what the goroutines above know: how far they are.
type marker interface {
	mark(m mark) error
}

// ticker is an operator with a clock. A partition that has one is never merged with the goroutine above.
type ticker interface {
	next() time.Time // when tick is to be called; zero: not at all
	tick(now time.Time) error
}

// mark is what a goroutine above a partition says behind the events that it has handed on. Of two
// marks of one lane with no events between them a partition gets the second.
type mark struct {
	lane     int   // which goroutine, from 1 on
	low      int64 // the watermark
	greatest int64 // event time
}

// tap makes what travels to the partitions, in the goroutine above them. lane.g says which source the
// events at hand are from.
type tap[K comparable, T, E any] struct {
	event func(K, T) E
	mark  func(done bool) (mark, bool) // after each batch, and at the end; nil: no marks.

	handled func() // the goroutine has dealt with a delivery, a mark comes; nil: it does not matter.
}

// partition is what an operator knows of where it runs.
type partition struct {
	index   int
	lane    lane
	keys    *keys
	horizon *horizon // nil: the window is not of event time.
}

// pair is an event with its key.
type pair[K comparable, T any] struct {
	key   K
	value T
}

// pairs is the tap of operators that need both.
func pairs[K comparable, T any](lane, *horizon) tap[K, T, pair[K, T]] {
	return tap[K, T, pair[K, T]]{event: func(k K, v T) pair[K, T] { return pair[K, T]{k, v} }}
}

// keyedNode is a layer of partitions: E is what travels to them, U what comes out of them. What runs in
// a partition is an operator. To write one:
//
//   - Choose E, what travels to the partition for an event, and say in a tap how it is made. It is made in
//     the goroutine above, which has the key at hand: pair carries both, CountBy has no use for the event.
//   - The operator is a sink[E]. push gets events of one goroutine above, in its order; end comes when all
//     of them have ended. Both run in the partition's goroutine, as do the methods below, so it needs no
//     locks. It begins as newWorker(p.lane, settings, next): begin() before it calls the user's functions,
//     append to out, flush() at maxDelivery and at last, and end() to hand on the end.
//   - With a method mark it is a marker: it gets what the tap says after a batch and at the end of its
//     goroutine. With next and tick it is a ticker, and the layer has to be alone.
//   - p.keys.add(1) before it keeps something for one more key, p.keys.add(-n) when it forgets some.
//
// A layer with several inputs calls feed for each of them, with exchanges of the same E, and then serve.
type keyedNode[K comparable, T, E, U any] struct {
	in       Keyed[K, T]
	settings settings // of the operator
	alone    bool     // also a single partition has a goroutine of its own
	tap      func(l lane, h *horizon) tap[K, T, E]
	operator func(p partition, s settings, next sink[U]) sink[E]
}

func (n keyedNode[K, T, E, U]) lanes() int { return n.in.count() }

func (k Keyed[K, T]) count() int {
	if k.partitions == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return max(k.partitions, 1)
}

func (n keyedNode[K, T, E, U]) configure(change func(*settings, bool)) node[U] {
	change(&n.settings, false)
	return n
}

func (n keyedNode[K, T, E, U]) plan(e env, to func(lane) sink[U]) {
	if n.settings.problem != "" {
		e.refuse("%s", n.settings.problem)
		return
	}
	budget := newKeys(e, n.in.maxKeys, n.in.meter)
	h := newHorizon(n.in.window.c, n.in.window.idle)
	if above := inputs(n.in.in); n.in.count() == 1 && isLane(above) && !n.alone {
		n.in.refuseProblem(e)
		planAbove(above[0], h.beside(e), func(l lane) sink[T] {
			op := n.operator(partition{lane: l, keys: budget, horizon: h}, n.settings, to(l))
			return newSplitter(l, n.in, n.tap(l, h), []receiver[E]{direct[E]{op}})
		})
		h.start(e)
		return
	}
	exchanges := newExchanges[E](n.in.count())
	feed(e, n.in, exchanges, h, n.tap)
	h.start(env{})
	serve(e, exchanges, budget, h, func(p partition, next sink[U]) sink[E] { return n.operator(p, n.settings, next) }, to)
}

func (k Keyed[K, T]) refuseProblem(e env) {
	if k.settings.problem != "" {
		e.refuse("%s", k.settings.problem)
	}
}

// newExchanges returns one for each of n partitions.
func newExchanges[E any](n int) []*exchange[E] {
	exchanges := make([]*exchange[E], n)
	for i := range exchanges {
		exchanges[i] = newExchange[E](1)
	}
	return exchanges
}

// feed plans the streams above a layer of partitions.
func feed[K comparable, T, E any](e env, k Keyed[K, T], exchanges []*exchange[E], h *horizon, tapOf func(lane, *horizon) tap[K, T, E]) {
	k.refuseProblem(e)
	for _, in := range inputs(k.in) {
		planAbove(in, h.above(e), func(l lane) sink[T] {
			return arrive(l, func(l lane) sink[T] {
				receivers := make([]receiver[E], len(exchanges))
				for i, ex := range exchanges {
					receivers[i] = ex.connect(l)
				}
				return newSplitter(l, k, tapOf(l, h), receivers)
			})
		})
	}
}

// serve plans the goroutines of a layer of partitions. Each is a source for the windows below: what
// comes out of it is not in the order of what went in.
func serve[E, U any](e env, exchanges []*exchange[E], budget *keys, h *horizon, operatorOf func(partition, sink[U]) sink[E], to func(lane) sink[U]) {
	for i, ex := range exchanges {
		l := e.source()
		ex.inboxes[0].g = l.g
		op := operatorOf(partition{index: i, lane: l, keys: budget, horizon: h}, to(l))
		e.do(l, op.end, func() error { return ex.operate(l, newPace(e.demand), op) })
	}
}

// operate is what the goroutine of a partition does.
func (ex *exchange[E]) operate(l lane, p pace, op sink[E]) error {
	clock, _ := op.(ticker)  // most have none
	marked, _ := op.(marker) // likewise
	for {
		var due time.Time
		if clock != nil {
			if due = clock.next(); !due.IsZero() {
				if now := time.Now(); !now.Before(due) {
					if err := clock.tick(now); err != nil {
						return err
					}
					continue
				}
			}
		}
		in, more, err := ex.take(l, 0, p.n, due)
		if err != nil || !more {
			return err
		}
		p.begin()
		if err := in.operate(op, marked); err != nil {
			return err
		}
		p.next()
	}
}

// operate gives an operator what its inbox has.
func (in *inbox[E]) operate(op sink[E], marked marker) error {
	done := 0
	for _, s := range in.handed {
		if s.marked {
			if marked != nil {
				if err := marked.mark(s.mark); err != nil {
					return err
				}
			}
			continue
		}
		if err := op.push(in.hand[done : done+s.n]); err != nil {
			return err
		}
		done += s.n
	}
	return nil
}
