// Package window decides which events belong together, when what they come to is emitted, and which
// come too late. It is pure: it has no clock, no goroutines and no input or output. Times are
// nanoseconds since 1970; processing time is what the caller says, by [Operator.Tick] and
// [Operator.Period].
//
// An [Operator] is one partition: it keeps an accumulator for every key of every open window. Whoever
// owns it tells of each event, in order:
//
//	o.Observe(source, at)   // the watermark moves, and what it passes is emitted
//	o.Add(key, value, at)   // the event is folded, or is late
//
// The watermark moves with each event and never with a delivery, so what is emitted does not depend on
// how the input is cut. All of the state is plain data: [Operator.State] and [Operator.Restore].
package window
