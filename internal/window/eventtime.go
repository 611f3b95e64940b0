package window

import (
	"math"
	"slices"
	"time"
)

// The years 1678 to 2262, without what is near their ends.
const (
	minSecond = -9_200_000_000
	maxSecond = 9_200_000_000
)

// Nanoseconds returns a time as an [Operator] takes it, or false for one outside of the years 1678 to 2262, which it has
// no number for.
func Nanoseconds(t time.Time) (at int64, ok bool) {
	if s := t.Unix(); s < minSecond || s > maxSecond {
		return 0, false
	}
	return t.UnixNano(), true
}

// maxSpare is how many closed windows are kept for their memory.
const maxSpare = 4

// Observe tells that a source has come to an event of this time, and emits what that closes. It is
// called for every event of the source, also for those of other partitions.
func (o *Operator[K, T, A]) Observe(src int, at int64) {
	o.Sources.Observe(src, at)
	if o.due <= o.low {
		o.advance()
	}
}

// Silence tells that a source has had nothing for long, and emits what that closes.
func (o *Operator[K, T, A]) Silence(src int) {
	o.Sources.Silence(src)
	o.advance()
}

// EndSource tells that a source has no more events, and emits what that closes. [Operator.End] is for
// when none has.
func (o *Operator[K, T, A]) EndSource(src int) {
	o.Sources.End(src)
	o.advance()
}

// Advance moves the watermark to where somebody else has found that it is, and emits what that closes;
// greatest is the greatest event time that is known of.
func (o *Operator[K, T, A]) Advance(low, greatest int64) {
	o.low, o.greatest = max(o.low, low), max(o.greatest, greatest)
	if o.due <= o.low {
		o.advance()
	}
}

// First tells the time of the first event of a source, whichever partition it belongs to: from there
// on windows without events are emitted, if they are to be.
func (o *Operator[K, T, A]) First(at int64) {
	if o.c.Empty && o.c.Kind.EventTime() {
		o.begin(floor(at, o.step) - o.size + o.step)
		o.advance()
	}
}

// at returns the Fixed window of a time, or nil if it is closed.
func (o *Operator[K, T, A]) at(at int64) *slot[K, A] {
	if s := o.last; s != nil && s.start <= at && at < s.end {
		return s
	}
	return o.starting(floor(at, o.step))
}

// starting returns the window that starts at a time, or nil if it is closed.
func (o *Operator[K, T, A]) starting(start int64) *slot[K, A] {
	if s := o.last; s != nil && s.start == start {
		return s
	}
	end := add(start, o.size)
	if add(end, int64(o.c.Late)) <= o.low {
		return nil
	}
	i, ok := o.search(start)
	if ok {
		o.last = o.open[i]
		return o.last
	}
	s := o.newSlot(start, end)
	o.open = slices.Insert(o.open, i, s)
	if end <= o.low {
		o.passed++
	}
	o.begin(start)
	o.advance() // windows without events between this one and those after it
	o.last = s
	return s
}

func (o *Operator[K, T, A]) search(start int64) (int, bool) {
	// The newest window is the one that is wanted nearly always.
	if n := len(o.open); n == 0 || o.open[n-1].start < start {
		return n, false
	}
	return slices.BinarySearchFunc(o.open, start, func(s *slot[K, A], start int64) int {
		switch {
		case s.start < start:
			return -1
		case s.start > start:
			return 1
		}
		return 0
	})
}

// begin lets empty windows be emitted from start on, if it is the earliest.
func (o *Operator[K, T, A]) begin(start int64) {
	if start < o.first {
		o.first, o.empty = start, start
	}
}

// schedule finds when there is something to be done next, and returns the end of the next window
// without events that is to be emitted.
func (o *Operator[K, T, A]) schedule() (emptyEnd int64) {
	o.due, emptyEnd = math.MaxInt64, math.MaxInt64
	if o.passed < len(o.open) {
		o.due = o.open[o.passed].end
	}
	if o.passed > 0 {
		o.due = min(o.due, add(o.open[0].end, int64(o.c.Late)))
	}
	if o.c.Empty && o.c.Kind != Session && o.empty != math.MaxInt64 {
		for {
			if _, ok := o.search(o.empty); !ok {
				break
			}
			o.empty = add(o.empty, o.step)
		}
		if o.empty <= floor(o.greatest, o.step) {
			emptyEnd = add(o.empty, o.size)
			o.due = min(o.due, emptyEnd)
		}
	}
	if o.c.Kind == Session {
		o.due = o.sessions.due()
	}
	return emptyEnd
}

// advance does what is due, in the order in which it was: so it makes no difference whether the
// watermark has come there in one step or in many.
func (o *Operator[K, T, A]) advance() {
	for emptyEnd := o.schedule(); o.due <= o.low; emptyEnd = o.schedule() {
		switch {
		case o.c.Kind == Session:
			o.advanceSession()
		case o.due == emptyEnd:
			o.insertEmpty()
		case o.passed < len(o.open) && o.due == o.open[o.passed].end:
			o.passed++
			if o.c.Late > 0 {
				o.emitAll(o.open[o.passed-1], Watermark, false)
			} else {
				o.finish()
			}
		default:
			o.finish()
		}
	}
}

func (o *Operator[K, T, A]) insertEmpty() {
	i, _ := o.search(o.empty)
	s := o.newSlot(o.empty, add(o.empty, o.size))
	o.open = slices.Insert(o.open, i, s)
	if i < o.passed { // one before it began late
		o.passed++
		o.emitAll(s, Watermark, false)
	}
}

// finish closes the earliest window for good.
func (o *Operator[K, T, A]) finish() {
	s := o.open[0]
	o.emitAll(s, Done, true)
	o.open = slices.Delete(o.open, 0, 1)
	o.passed = max(o.passed-1, 0)
	if o.last == s {
		o.last = nil
	}
	o.accumulators -= len(s.entries)
	s.reset()
	if len(o.spare) < maxSpare {
		o.spare = append(o.spare, s)
	}
}

func (o *Operator[K, T, A]) finishAll() {
	for emptyEnd := o.schedule(); emptyEnd != math.MaxInt64 || len(o.open) > 0; emptyEnd = o.schedule() {
		if len(o.open) == 0 || emptyEnd < o.open[0].end {
			o.insertEmpty()
			continue
		}
		o.finish()
	}
	for _, s := range o.sessions.inOrder() {
		o.finishSession(s)
	}
}
