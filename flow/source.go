package flow

import (
	"context"
	"errors"
	"io"
	"iter"
)

// source is a node that events come from.
type source[T any] struct {
	problem string // "": none.
	read    func(l lane, p pace, out sink[T]) error
}

func (s source[T]) lanes() int { return 1 }

func (s source[T]) plan(e env, to func(lane) sink[T]) {
	if s.problem != "" {
		e.refuse("%s", s.problem)
		return
	}
	l := e.source()
	out := to(l)
	e.do(l, out.end, func() error { return s.read(l, newPace(e.demand), out) })
}

// From returns a stream of what is in a collection: slices.Values(names), maps.Keys(m), or any other
// sequence. Each run ranges over seq once, in one goroutine, as far as events are wanted.
//
// While the sequence is quick its events travel together, up to 500 of them (see [Stream.Demand]). One
// that waits for the world, such as for the next line of a connection, may so hold back events that it
// has yielded: use [FromChan] or [FromFunc] there. A sequence that blocks also cannot be interrupted:
// the flow waits for its next event before it ends.
func From[T any](seq iter.Seq[T]) Stream[T] {
	if seq == nil {
		return Stream[T]{source[T]{problem: "From needs a sequence"}}
	}
	return Stream[T]{source[T]{read: func(l lane, p pace, out sink[T]) error {
		b := newBuffer(l, p, out)
		for v := range seq {
			if !b.add(v) {
				break
			}
		}
		return b.flush()
	}}}
}

// FromErr is [From] of a sequence that may fail: a pair with an error ends the flow, after the events
// before it have been handed on, and Run returns that error as it is. What they would have come to may be
// lost with it: to have results of what could be read, let the sequence end instead, and keep the error.
func FromErr[T any](seq iter.Seq2[T, error]) Stream[T] {
	if seq == nil {
		return Stream[T]{source[T]{problem: "FromErr needs a sequence"}}
	}
	return Stream[T]{source[T]{read: func(l lane, p pace, out sink[T]) error {
		b := newBuffer(l, p, out)
		var failed error
		for v, err := range seq {
			if err != nil {
				failed = err
				break
			}
			if !b.add(v) {
				break
			}
		}
		if err := b.flush(); err != nil {
			return err
		}
		return failed
	}}}
}

// FromChan returns a stream of what is received from c until it is closed. What is there is handed on
// at once: an event never waits for another. When the flow ends early, nothing more is received.
func FromChan[T any](c <-chan T) Stream[T] {
	if c == nil {
		return Stream[T]{source[T]{problem: "FromChan needs a channel"}}
	}
	return Stream[T]{source[T]{read: func(l lane, p pace, out sink[T]) error {
		b := newBuffer(l, p, out)
		for {
			v, ok, err := receive(l.ctx, c, len(b.events) == 0)
			switch {
			case err != nil:
				return err
			case !ok && len(b.events) > 0: // nothing is there, or c is closed: the next look will tell
				if err := b.flush(); err != nil {
					return err
				}
			case !ok:
				return nil
			case !b.add(v):
				return b.failed
			}
		}
	}}}
}

// receive waits for a value, or not. It returns false if c is closed, or there is none to wait for.
func receive[T any](ctx context.Context, c <-chan T, wait bool) (v T, ok bool, _ error) {
	select {
	case v, ok = <-c:
		return v, ok, nil
	default:
	}
	if !wait {
		return v, false, nil
	}
	select {
	case v, ok = <-c:
		return v, ok, nil
	case <-ctx.Done():
		return v, false, context.Cause(ctx)
	}
}

// FromFunc returns a stream of what next hands out when it is asked. It is called in one goroutine, and
// only when events are wanted. It waits for at least one event, at most until ctx is done, appends up
// to n of them to out and returns that. With [io.EOF], and the last events or none, the stream ends;
// any other error ends the flow, and Run returns it as it is.
func FromFunc[T any](next func(ctx context.Context, n int, out []T) ([]T, error)) Stream[T] {
	if next == nil {
		return Stream[T]{source[T]{problem: "FromFunc needs a function"}}
	}
	return Stream[T]{source[T]{read: func(l lane, p pace, out sink[T]) error {
		var room []T
		for {
			p.begin()
			events, err := next(l.ctx, p.n, room[:0])
			if len(events) > 0 {
				if err := out.push(events); err != nil {
					return err
				}
				p.next()
			}
			clear(events)
			room = events
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			case l.ctx.Err() != nil:
				return context.Cause(l.ctx)
			}
		}
	}}}
}

// buffer collects events one by one and hands them on in batches.
type buffer[T any] struct {
	lane   lane
	pace   pace
	events []T
	out    sink[T]
	failed error
}

func newBuffer[T any](l lane, p pace, out sink[T]) *buffer[T] {
	p.begin()
	return &buffer[T]{lane: l, pace: p, out: out}
}

// add reports false if nothing more is wanted.
func (b *buffer[T]) add(v T) bool {
	b.events = append(b.events, v)
	if len(b.events) < b.pace.n {
		return true
	}
	if b.flush() != nil {
		return false
	}
	b.pace.next()
	b.failed = b.lane.interrupted()
	return b.failed == nil
}

func (b *buffer[T]) flush() error {
	if b.failed == nil && len(b.events) > 0 {
		b.failed = b.out.push(b.events)
	}
	clear(b.events)
	b.events = b.events[:0]
	return b.failed
}
