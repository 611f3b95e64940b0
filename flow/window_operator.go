package flow

import (
	"errors"
	"math"
	"time"

	"github.com/millhand/millhand/internal/window"
)

// errEventTime is why an event without a time that can be told ends the flow.
var errEventTime = errors.New("its time, or the start of a window of it, is outside of the years 1678 to 2262: is it set?")

// timed is an event as it travels to a partition with windows.
type timed[K comparable, T any] struct {
	key   K
	value T
	at    int64 // event time
	low   int64 // the watermark when it came
}

// withTimes is the tap of windows. of says what the windows have for a key and an event.
func withTimes[K, P comparable, T, V any](at func(T) time.Time, of func(K, T) (P, V)) func(lane, *horizon) tap[K, T, timed[P, V]] {
	return func(l lane, h *horizon) tap[K, T, timed[P, V]] {
		if h == nil {
			return tap[K, T, timed[P, V]]{event: func(k K, e T) timed[P, V] {
				p, v := of(k, e)
				return timed[P, V]{key: p, value: v}
			}}
		}
		o := newLookout(h, l, at)
		return tap[K, T, timed[P, V]]{
			event: func(k K, e T) timed[P, V] {
				p, v := of(k, e)
				at, low := o.event(e)
				return timed[P, V]{p, v, at, low}
			},
			mark: o.mark, handled: o.handled,
		}
	}
}

// windows are a partition's: what an operator that folds events of windows has in common.
type windows[K comparable, T, A, U any] struct {
	worker[U]
	w     Window[T]
	h     *horizon
	build func() *window.Operator[K, T, A]
	op    *window.Operator[K, T, A] // made when there is something to do
	keys  *keys
	kept  int // accumulators that keys knows of
	late  int // events that keys knows to be dropped
	gauge *gauge[A]
	pane  paneOf
	began bool  // the first event time is known
	err   error // what came of handing on amid an event

	below marker // gets how far the windows are; nil: nobody wants to know.

	number int64     // of the Periodic window
	ends   time.Time // when it ends
	period time.Time // when EveryPeriod is
	look   time.Time // when to look for silent sources
}

func newWindows[K comparable, T, A, U any](p partition, s settings, next sink[U], w Window[T]) *windows[K, T, A, U] {
	below, _ := next.(marker) // most want not to
	return &windows[K, T, A, U]{
		worker: newWorker(p.lane, s, next), w: w, h: p.horizon, keys: p.keys, pane: paneOf{partition: p.index}, below: below,
	}
}

func (o *windows[K, T, A, U]) begin() {
	o.worker.begin()
	if o.op == nil {
		o.op = o.build()
	}
}

// put hands a result on.
func (o *windows[K, T, A, U]) put(v U) {
	if o.err != nil {
		return
	}
	o.out = append(o.out, v)
	if len(o.out) == maxDelivery {
		o.err = o.flush()
		o.worker.begin()
	}
}

func (o *windows[K, T, A, U]) push(batch []timed[K, T]) error {
	o.begin()
	o.first()
	for i := range batch {
		e := &batch[i]
		if o.h != nil {
			if e.at == noTime {
				return &ItemError{Step: o.settings.name, Item: e.value, Err: errEventTime}
			}
			o.op.Advance(e.low, e.low)
		}
		o.event(e)
		if n := o.op.Accumulators(); n != o.kept || o.err != nil {
			if err := o.settle(); err != nil {
				return err
			}
		}
	}
	return first(o.settle(), o.flush())
}

func (o *windows[K, T, A, U]) event(e *timed[K, T]) {
	if o.w.when != nil {
		switch m := o.w.when(e.value); m {
		case Before, Only:
			o.op.Mark(e.key, e.at)
			if m == Only {
				return
			}
		case After:
			defer o.op.Mark(e.key, e.at)
		case Plain:
		}
	}
	if !o.op.Add(e.key, e.value, e.at) && o.w.onLate != nil {
		o.w.onLate(e.value)
	}
}

// first tells of the first event of all, for windows without events.
func (o *windows[K, T, A, U]) first() {
	if o.h == nil || o.began {
		return
	}
	if at := o.h.first.Load(); at != noTime {
		o.began = true
		o.op.First(at)
	}
}

// settle counts the keys, and returns what has gone wrong.
func (o *windows[K, T, A, U]) settle() error {
	n := o.op.Accumulators()
	var err error
	if n != o.kept {
		err = o.keys.add(n - o.kept)
		o.kept = n
	}
	if late := o.op.Dropped(); late != o.late {
		o.keys.dropped.Add(int64(late - o.late))
		o.late = late
	}
	o.gauge.tell()
	return first(o.err, err)
}

// operator makes the partition's operator, whose sizes are kept up if somebody asks for them.
func (o *windows[K, T, A, U]) operator(c window.Config, f window.Funcs[K, T, A]) *window.Operator[K, T, A] {
	if c.Kind != window.Session || f.Merge != nil {
		o.gauge = newGauge[A](o.keys)
	}
	if g := o.gauge; g != nil {
		f = gauged(g, f)
	}
	return window.NewOperator(c, f)
}

// gauged has a gauge follow what an operator keeps.
func gauged[K comparable, T, A any](g *gauge[A], f window.Funcs[K, T, A]) window.Funcs[K, T, A] {
	with := f
	with.Zero = func(k K) A { return g.began(f.Zero(k)) }
	with.Fold = func(a A, v T) A { return fold(g, f.Fold, a, v) }
	if f.Merge != nil {
		with.Merge = func(a, b A) A {
			before := g.of(a) + g.of(b)
			a = f.Merge(a, b)
			g.size += g.of(a) - before
			return a
		}
	}
	with.Emit = func(k K, a *A, p window.Pane) {
		g.size -= g.of(*a)
		f.Emit(k, a, p)
		if !p.Final {
			g.size += g.of(*a)
		}
	}
	return with
}

func (o *windows[K, T, A, U]) mark(m mark) error {
	o.begin()
	o.first()
	o.op.Advance(m.low, m.greatest)
	return first(o.settle(), o.flush(), o.tell(o.op.Low()))
}

// tell says how far the windows are, behind what has come of them.
func (o *windows[K, T, A, U]) tell(low int64) error {
	if o.below == nil {
		return nil
	}
	return o.below.mark(mark{lane: o.pane.partition + 1, low: low})
}

func (o *windows[K, T, A, U]) end() error {
	return o.finish(func() error {
		o.begin()
		o.op.End()
		o.gauge.empty()
		return first(o.settle(), o.flush(), o.tell(math.MaxInt64))
	})
}

// timedWindows are windows with a clock.
type timedWindows[K comparable, T, A, U any] struct{ *windows[K, T, A, U] }

// hasClock reports whether a window needs one.
func (w Window[T]) hasClock() bool {
	return w.c.Kind == window.Periodic || w.period > 0 || w.idle > 0 && w.c.Kind.EventTime()
}

// sink returns the operator, with a clock if it needs one.
func (o *windows[K, T, A, U]) sink() sink[timed[K, T]] {
	if o.w.hasClock() {
		return timedWindows[K, T, A, U]{o}
	}
	return o
}

func (o timedWindows[K, T, A, U]) next() time.Time {
	if o.ends.IsZero() && o.period.IsZero() && o.look.IsZero() {
		o.start(time.Now())
	}
	var due time.Time
	for _, t := range []time.Time{o.ends, o.period, o.look} {
		if !t.IsZero() && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	return due
}

func (o timedWindows[K, T, A, U]) start(now time.Time) {
	if o.w.c.Kind == window.Periodic {
		o.ends = now.Add(o.w.c.Size)
	}
	if o.w.period > 0 {
		o.period = now.Add(o.w.period)
	}
	if o.w.idle > 0 && o.h != nil {
		o.look = now.Add(o.w.idle)
	}
}

func (o timedWindows[K, T, A, U]) tick(now time.Time) error {
	o.begin()
	// What is due at once: first the state of a window, then its end.
	if due(&o.windows.period, now, o.w.period) {
		o.op.Period()
	}
	if due(&o.ends, now, o.w.c.Size) {
		o.op.Tick()
		o.number++
	}
	if !o.look.IsZero() && !o.look.After(now) {
		o.h.mu.Lock()
		o.look = o.h.silence(now)
		low, greatest := o.h.sources.Low(), o.h.sources.Greatest()
		o.h.mu.Unlock()
		o.first()
		o.op.Advance(low, greatest)
	}
	if o.h == nil {
		return first(o.settle(), o.flush(), o.tell(o.number))
	}
	return first(o.settle(), o.flush(), o.tell(o.op.Low()))
}

// due reports whether it is time, and sets when it will be next. What was missed is not made up for.
func due(at *time.Time, now time.Time, every time.Duration) bool {
	if at.IsZero() || at.After(now) {
		return false
	}
	*at = at.Add(every)
	if !at.After(now) {
		*at = now.Add(every)
	}
	return true
}

// problem returns what is wrong with the window of a keyed stream, for an operator that has keys or not.
func (w Window[T]) problem(byKey bool) string {
	c := w.c
	switch err := c.Check(); {
	case err != nil:
		return err.Error()
	case c.Kind.EventTime() && w.at == nil:
		return "a " + c.Kind.String() + " window needs a function that returns an event's time"
	case !c.Kind.EventTime() && (w.idle != 0 || w.onLate != nil):
		return "IdleAfter and OnLate are for windows of event time, and a " + c.Kind.String() + " window is none"
	case w.idle < 0:
		return "an IdleAfter of " + w.idle.String() + ": it cannot be negative"
	case w.period < 0:
		return "an EveryPeriod of " + w.period.String() + ": it cannot be negative"
	case byKey && c.Empty:
		return "Empty is for Reduce and Gather: what is done by key has no key for a window without events"
	}
	return ""
}

// Within has what is done for each key done for each window of it instead. Let By stand right behind the
// sources, or behind [Stream.Ordered]: then the results of windows of event time are a function of
// the input. Behind [Stream.Stages] events overtake each other. Events that are in the order of their
// source are never late through that, if it is one layer; but whether one that its source delivered
// late is taken or dropped may differ between runs.
//
// Windows of event time close as the sources go on: the watermark is that of the source that is furthest
// behind, see [Merge]. Those of partitions, behind another [Keyed] stream, count as sources.
func (k Keyed[K, T]) Within(w Window[T]) Keyed[K, T] {
	k.window = w
	return k
}
