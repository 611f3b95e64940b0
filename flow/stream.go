package flow

import (
	"context"
	"iter"
)

// A Stream is a description of events of type T: where they come from and what is done with them. It
// is a value that never changes; nothing runs before [Stream.Run], [Stream.All] or [Collect], and each
// of those runs all of it anew. So a stream that is used in two places of a flow is computed twice.
//
// The zero Stream has no source, and running it is an error.
type Stream[T any] struct {
	node node[T]
}

// node is a part of the description, with all above it.
type node[T any] interface {
	// plan adds the goroutines of the stream to a run. It calls to for each goroutine that will push
	// events out of the stream, before any of them starts.
	plan(e env, to func(lane) sink[T])

	// lanes is how many goroutines that will be.
	lanes() int
}

// sink is the rest of a lane: what becomes of its events. Its methods are called by one goroutine at
// a time.
type sink[T any] interface {
	// push takes a batch that is valid, and not to be changed, until it returns. It waits while those
	// below have enough to do. After an error nothing is pushed any more.
	push(batch []T) error

	// end is called once, after the last push, also if that was stopped from below. Then nothing more comes
	// of what a step has kept of the events: that is not all of them.
	end() error
}

// Run runs the flow and drops its events: what counts is what [Stream.Each] and the other steps do.
// It returns when all goroutines of the flow have ended, with nil after the last event, with the first
// error of a step ([ItemError], [PanicError]), of a source or of the description ([ErrInvalid]), or
// with [context.Cause] of ctx once that has ended. So it can be a supervisor's child.
func (s Stream[T]) Run(ctx context.Context) error {
	return run(ctx, s, func(e env, n node[T]) {
		n.plan(e, func(lane) sink[T] { return drop[T]{} })
	})
}

// All runs the flow for each loop over it, with the loop's body in the caller's goroutine:
//
//	for v, err := range s.All(ctx) {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// A pair with an error is the last one; it is what [Stream.Run] would have returned. Leaving the loop
// stops the sources, and goes on when all goroutines of the flow have ended.
func (s Stream[T]) All(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		left := false
		err := each(ctx, s, func(batch []T) bool {
			for _, v := range batch {
				if !yield(v, nil) {
					left = true
					return false
				}
			}
			return true
		})
		if err != nil && !left {
			var none T
			yield(none, err)
		}
	}
}

// Collect runs the flow and returns its events in one slice. With an error it returns those that came
// before it.
func Collect[T any](ctx context.Context, s Stream[T]) ([]T, error) {
	var all []T
	err := each(ctx, s, func(batch []T) bool {
		all = append(all, batch...)
		return true
	})
	return all, err
}

// each runs the flow with f on the caller's goroutine, until f returns false.
func each[T any](ctx context.Context, s Stream[T], f func(batch []T) bool) error {
	return run(ctx, s, func(e env, n node[T]) {
		last := func(l lane) sink[T] {
			e.caller = l.g
			return &caller[T]{plan: e.plan, f: f}
		}
		if n.lanes() > 1 {
			n = gather[T]{inputs: []node[T]{n}}
		}
		n.plan(e, last)
	})
}

// drop is the end of a flow whose events nobody wants.
type drop[T any] struct{}

func (drop[T]) push([]T) error { return nil }
func (drop[T]) end() error     { return nil }

// caller is the end of a flow in a function that is not part of it: its panics are not the flow's.
type caller[T any] struct {
	plan *plan
	f    func(batch []T) bool
	left bool // f wants no more
}

func (c *caller[T]) push(batch []T) error {
	if !c.left {
		c.plan.outside = true
		c.left = !c.f(batch)
		c.plan.outside = false
		if !c.left {
			return nil
		}
		c.plan.stop(c.plan.stopped)
	}
	return c.plan.stopped
}

func (c *caller[T]) end() error { return nil }
