package flow

import (
	"github.com/millhand/millhand/internal/window"
)

// Reduced is what [Reduce] makes: one value a partition. It becomes a stream by [Reduced.Emit],
// [OnTrigger] or [Gather].
type Reduced[A any] struct {
	node node[fired[A]]
	c    window.Config
	n    int // partitions
}

// fired is an accumulator for as long as a call lasts, which may replace it.
type fired[A any] struct {
	acc  *A
	pane Pane
}

// Reduce makes one value of all events of each partition, whatever their keys, or with [Keyed.Within] of
// those in each window: zero makes the first, and f adds an event to it. What there is without a window
// comes when the events have ended, of each partition, also of one without events. [Count] and
// [Window.EveryN] count the events of a partition, and [Window.When] is about all of them. A [Session]
// is of a key, so there is none here. How events are spread over partitions decides the
// values: mostly [Fold] is what is wanted, or [Gather] behind.
//
// f may change and return the value that it is given, unless that is emitted more than once: see
// [OnTrigger].
func Reduce[K comparable, T, A any](k Keyed[K, T], zero func() A, f func(A, T) A) Reduced[A] {
	s := describe("Reduce", f)
	if zero == nil {
		s.refuse("Reduce needs a function for the first value")
	}
	s.refuse(k.window.problem(false))
	c := k.window.c
	if c.Kind == window.Session {
		s.refuse("a Session is of a key, and Reduce has one value for all keys of a partition: use Fold")
	}
	if c.Kind == window.Global {
		c.Empty = true // it is there without events, too
	}
	r := Reduced[A]{c: c, n: k.count()}
	if k.window.isPlain() {
		r.node = keyedNode[K, T, T, fired[A]]{
			in: k, settings: s, tap: valuesOnly[K, T],
			operator: func(p partition, s settings, next sink[fired[A]]) sink[T] {
				return &reducer[T, A]{worker: newWorker(p.lane, s, next), zero: zero, f: f, partition: p.index, keys: p.keys, gauge: newGauge[A](p.keys)}
			},
		}
		return r
	}
	r.node = keyedNode[K, T, timed[struct{}, T], fired[A]]{
		in: k, settings: s, alone: k.window.hasClock(),
		tap: withTimes(k.window.at, func(_ K, v T) (struct{}, T) { return struct{}{}, v }),
		operator: func(p partition, s settings, next sink[fired[A]]) sink[timed[struct{}, T]] {
			o := newWindows[struct{}, T, A](p, s, next, k.window)
			var one [1]fired[A]
			funcs := window.Funcs[struct{}, T, A]{
				Zero: func(struct{}) A { return zero() },
				Fold: f,
				Emit: func(_ struct{}, a *A, p window.Pane) {
					if o.err != nil {
						return
					}
					one[0] = fired[A]{a, o.pane.of(p)}
					o.err = next.push(one[:])
					o.worker.begin()
				},
			}
			o.build = func() *window.Operator[struct{}, T, A] { return o.operator(c, funcs) }
			return o.sink()
		},
	}
	return r
}

func valuesOnly[K comparable, T any](lane, *horizon) tap[K, T, T] {
	return tap[K, T, T]{event: func(_ K, v T) T { return v }}
}

// reducer is a partition without windows.
type reducer[T, A any] struct {
	worker[fired[A]]
	zero      func() A
	f         func(A, T) A
	partition int
	keys      *keys
	gauge     *gauge[A]
	began     bool
	acc       A
}

func (r *reducer[T, A]) begin() {
	r.worker.begin()
	if !r.began {
		r.began, r.acc = true, r.gauge.began(r.zero())
		r.keys.n.Add(1) // there is one, however many keys there are: that is no matter of MaxKeys
	}
}

func (r *reducer[T, A]) push(batch []T) error {
	r.begin()
	for _, v := range batch {
		r.acc = fold(r.gauge, r.f, r.acc, v)
	}
	r.gauge.tell()
	return nil
}

func (r *reducer[T, A]) end() error {
	return r.finish(func() error {
		r.begin()
		pane := Pane{Trigger: Done, Final: true, Revision: 1, Partition: r.partition}
		r.out = append(r.out, fired[A]{&r.acc, pane})
		err := r.flush()
		r.keys.n.Add(-1)
		r.gauge.empty()
		return err
	})
}

// Emit has each value as it is when a window is emitted, and keeps it: see [OnTrigger].
func (r Reduced[A]) Emit() Stream[A] {
	return OnTrigger(r, func(a A, _ Pane) ([]A, A) { return []A{a}, a })
}

// OnTrigger calls f with the value of a partition whenever its window is emitted. f returns what is
// emitted, and the value that the events to come are added to: a to keep it, a new one to begin again.
// After a pane that is [Pane].Final the latter is of no meaning.
//
// If f emits a value that it also keeps, such as a map, the steps below have it while the fold goes on:
// then let f, or the fold, make copies.
func OnTrigger[A, U any](r Reduced[A], f func(A, Pane) (emit []U, next A)) Stream[U] {
	return Stream[U]{step[fired[A], U]{
		in: r.node, settings: describe("OnTrigger", f),
		make: func(l lane, s settings, next sink[U]) sink[fired[A]] {
			return &trigger[A, U]{newWorker(l, s, next), f}
		},
	}}
}

type trigger[A, U any] struct {
	worker[U]
	f func(A, Pane) ([]U, A)
}

func (t *trigger[A, U]) push(batch []fired[A]) error {
	t.begin()
	for _, p := range batch {
		var emit []U
		emit, *p.acc = t.f(*p.acc, p.pane)
		t.out = append(t.out, emit...)
	}
	return t.flush()
}
