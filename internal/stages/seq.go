package stages

import (
	"context"
	"fmt"
	"iter"

	"github.com/millhand/millhand/internal/supervisor"
)

// FromSeq returns a producer of seq's events, which it draws as they are asked for. It completes
// with seq, and each Run starts seq again. Demand of the configuration is not used.
func FromSeq[T any](seq iter.Seq[T], c ProducerConfig[T]) (*Producer[T], error) {
	p, err := NewProducer(c)
	if err != nil {
		return nil, err
	}
	p.start = func(p *Producer[T]) (stop func()) {
		next, stop := iter.Pull(seq)
		p.demand = func(_ context.Context, n int, out []T) ([]T, error) {
			for range n {
				event, ok := next()
				if !ok {
					return out, ErrDone
				}
				out = append(out, event)
			}
			return out, nil
		}
		return stop
	}
	return p, nil
}

// errHalted ends the consumer of a Stream whose loop was left.
var errHalted = fmt.Errorf("%w: stream was left", supervisor.ErrShutdown)

// Stream subscribes to src on the given terms and returns its events as a sequence, which ends with
// the subscription or with ctx. Leaving the loop cancels the subscription. A pair with an error is
// the last one: what the producer failed with.
func Stream[T any](ctx context.Context, src Source[T], o SubscribeOptions[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		o.Cancel = Permanent
		c, err := NewConsumer(ConsumerConfig[T]{Handle: func(_ context.Context, batch []T) error {
			for _, event := range batch {
				if !yield(event, nil) {
					return errHalted
				}
			}
			return nil
		}})
		if err == nil {
			_, err = c.Subscribe(src, o)
		}
		if err == nil {
			err = c.Run(ctx)
		}
		if err != nil && !Clean(err) {
			yield(none, err)
		}
	}
}
