package pipeline

import (
	"context"
	"fmt"
	"io"
	"iter"
)

// FromSeq is a source of seq's values, which nobody is told the end of. It draws as many at once as there
// is room for, so values that are waited for belong in a channel: [FromChan]. Each Run begins seq again.
func FromSeq[T any](seq iter.Seq[T]) Source[T] {
	return FromErr(func(yield func(T, error) bool) {
		for v := range seq {
			if !yield(v, nil) {
				return
			}
		}
	})
}

// FromErr is FromSeq of values that are read with errors. An error is the last thing that seq yields: the
// pipeline drains, and Run returns it, wrapped. A panic of seq is one, as a [PanicError].
func FromErr[T any](seq iter.Seq2[T, error]) Source[T] { //nolint:iface // a source is all that it is
	return &seqSource[T]{seq: seq}
}

type seqSource[T any] struct {
	seq  iter.Seq2[T, error]
	next func() (T, error, bool)
	stop func()
}

func (s *seqSource[T]) Pull(_ context.Context, n int, out []Delivery[T]) ([]Delivery[T], error) {
	if s.next == nil {
		s.next, s.stop = iter.Pull2(s.seq)
	}
	var read error
	err := contained(func() error {
		for range n {
			v, err, ok := s.next()
			switch {
			case !ok:
				read = io.EOF
				return nil
			case err != nil:
				return err
			}
			out = append(out, Delivery[T]{Value: v})
		}
		return nil
	})
	if err != nil { // seq is over with it, also if it panicked
		return out, fmt.Errorf("%w: %w", io.EOF, err)
	}
	return out, read
}

// Release ends the sequence.
func (s *seqSource[T]) Release(context.Context) {
	if s.stop != nil {
		s.stop()
		s.next, s.stop = nil, nil
	}
}

// FromChan is a source of a channel's values, which nobody is told the end of. It ends when the channel is
// closed.
func FromChan[T any](values <-chan T) Source[T] { //nolint:iface // a source is all that it is
	return chanSource[T](values)
}

type chanSource[T any] <-chan T

func (s chanSource[T]) Pull(ctx context.Context, n int, out []Delivery[T]) ([]Delivery[T], error) {
	select {
	case v, ok := <-s:
		if !ok {
			return out, io.EOF
		}
		out = append(out, Delivery[T]{Value: v})
	case <-ctx.Done():
		return out, context.Cause(ctx)
	}
	for range n - 1 {
		select {
		case v, ok := <-s:
			if !ok {
				return out, nil // the next call says so
			}
			out = append(out, Delivery[T]{Value: v})
		default:
			return out, nil
		}
	}
	return out, nil
}
