package flow

import (
	"time"

	"github.com/millhand/millhand/internal/window"
)

// Window is how the events of a [Keyed] stream are cut, when what they come to is emitted, and what
// becomes of late ones. It is a value: each method returns another window. What is wrong with it, such
// as a negative duration, is an error of the flow's run.
//
// A window holds one accumulator for each key; see [Fold]. Windows of processing time ([Periodic], and
// EveryPeriod) give other results with each run. All others are a function of the input, and [Window.Late]
// is why: event time alone closes a window, so a file gives in a minute what a stream gave in a day.
//
// The zero value is [Global].
type Window[T any] struct {
	c      window.Config
	at     func(T) time.Time
	when   func(T) Mark
	onLate func(T)
	idle   time.Duration
	period time.Duration
}

// Global is the window of a whole flow. It is emitted when the sources have ended.
func Global[T any]() Window[T] { return Window[T]{} }

// Count makes a window of each n events of a key. The last one may have fewer. Windows are numbered
// from 0 by key ([Pane].Number), so memory grows with the number of keys.
func Count[T any](n int) Window[T] {
	return Window[T]{c: window.Config{Kind: window.Count, N: n}}
}

// Periodic makes a window of what arrives in each d of processing time. Windows are numbered from 0.
func Periodic[T any](d time.Duration) Window[T] {
	return Window[T]{c: window.Config{Kind: window.Periodic, Size: d}}
}

// Fixed makes a window of each d of event time, which is what at returns. Windows start at multiples
// of d since 1970 in UTC. An event time outside of the years 1678 to 2262, such as the zero time, ends the
// flow with an [*ItemError], and so does one whose window, or one of whose [Sliding] windows, would start before.
func Fixed[T any](d time.Duration, at func(T) time.Time) Window[T] {
	return Window[T]{c: window.Config{Kind: window.Fixed, Size: d}, at: at}
}

// Sliding makes windows of event time that are d long and start every step, as those of [Fixed] do. So an
// event is in d/step of them. The step has to divide d.
func Sliding[T any](d, step time.Duration, at func(T) time.Time) Window[T] {
	return Window[T]{c: window.Config{Kind: window.Sliding, Size: d, Step: step}, at: at}
}

// Session makes a window of events of a key whose event times are less than gap apart. It ends a gap
// after its last event. A late event may make one session of two.
//
// [CountBy] and [Uniq] merge what they have of two sessions that become one. [Fold] cannot, so the
// events of a session are kept until it closes, and folded, in the order in which they came, whenever it
// is emitted; [Keyed.MaxKeys] bounds them.
func Session[T any](gap time.Duration, at func(T) time.Time) Window[T] {
	return Window[T]{c: window.Config{Kind: window.Session, Size: gap}, at: at}
}

// Delay keeps the watermark d behind the greatest event time of a source, 0 by default: so far may events
// come out of order without being late. It delays the emission of windows by as much.
func (w Window[T]) Delay(d time.Duration) Window[T] {
	w.c.Delay = d
	return w
}

// Late lets a window take events until the watermark is d beyond its end, 0 by default. It is emitted
// when the watermark passes its end, with trigger [Watermark], and for good, [Done], d later, with what has
// come until then.
func (w Window[T]) Late(d time.Duration) Window[T] {
	w.c.Late = d
	return w
}

// OnLate calls f with each event that comes too late for all of its windows. Such events are counted
// in [Pane].Dropped, whether there is an f or not. f is called by several goroutines at once if there
// are several partitions.
func (w Window[T]) OnLate(f func(T)) Window[T] {
	w.onLate = f
	return w
}

// IdleAfter lets a source that has been silent for d of processing time hold no window open, also one that
// has not shown anything since the run began. If all are, windows close up to the greatest event time seen. By
// default, and if d is 0, a silent source holds them for as long as it takes. So its results depend on the pace
// of the sources. Windows over the windows of another [Keyed] stream need it where sources do not end: a
// partition that no key belongs to is silent for ever.
func (w Window[T]) IdleAfter(d time.Duration) Window[T] {
	w.idle = d
	return w
}

// EveryN emits what there is after each n events of a key in a window, with trigger [Every], and keeps it:
// [Reduce] counts the events of a partition instead. 0 does not.
func (w Window[T]) EveryN(n int) Window[T] {
	w.c.EveryN = n
	return w
}

// EveryPeriod emits all there is after each d of processing time, with trigger [Period], and keeps it. 0
// does not.
func (w Window[T]) EveryPeriod(d time.Duration) Window[T] {
	w.period = d
	return w
}

// When asks f what each event means for the events of its key and window, or of its partition with
// [Reduce], that came before it: nothing, or that what there is is emitted, with trigger [Marked].
func (w Window[T]) When(f func(T) Mark) Window[T] {
	w.when = f
	return w
}

// Empty emits windows without events, too. It is for [Reduce] and [Gather], which have an accumulator for
// a whole partition; a flow that folds by key is refused, since a window without events has no keys.
// Windows of event time are emitted from the first event to the last, so beware of a gap of a year in
// windows of a second.
func (w Window[T]) Empty() Window[T] {
	w.c.Empty = true
	return w
}
