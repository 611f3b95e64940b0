package millhand

import (
	"context"
	"fmt"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// WithRetries returns a source of what source has and, beside it, of those of its messages that were dead jobs
// of a queue by [DeadJobs] and have been requeued: the same pipeline takes them again. They are jobs, with
// the attempts, backoff and dead letter of jobs; of their message decode sees the data alone. Where messages
// come in an order, these come out of it.
//
// It returns [ErrInvalid] for a queue that cannot be one.
func WithRetries[T any](c *Client, source pipeline.Source[T], streamName, queueName string, decode func(stream.Message) (T, error)) (pipeline.Source[T], error) {
	jobs, err := NewJobSource[Raw](c.Conn(), JobSourceConfig{
		Config: c.Config(), Queues: []Queue{{Name: queueName}}, Types: []string{queue.TypeOfStream(streamName)},
	})
	if err != nil {
		return nil, err
	}
	return pipeline.Merge(source, &retries[T]{JobSource: jobs, decode: decode}), nil
}

// retries are jobs as what they were messages of.
type retries[T any] struct {
	*JobSource[Raw]
	decode func(stream.Message) (T, error)
	jobs   []pipeline.Delivery[*Job[Raw]]
}

// Pull implements [pipeline.Source].
func (r *retries[T]) Pull(ctx context.Context, n int, out []pipeline.Delivery[T]) (_ []pipeline.Delivery[T], err error) {
	r.jobs, err = r.JobSource.Pull(ctx, n, r.jobs[:0])
	for _, j := range r.jobs {
		d := pipeline.Delivery[T]{Key: j.Key, At: j.At, Attempt: j.Attempt, Meta: j.Meta, Acker: j.Acker, Ref: j.Ref, Err: j.Err, Context: j.Context}
		if d.Err == nil {
			d.Value, d.Err = r.value(j.Value)
		}
		out = append(out, d)
	}
	clear(r.jobs)
	return out, err
}

// value decodes a job's payload. A panic of the decoder is its error.
func (r *retries[T]) value(j *Job[Raw]) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = Permanent(fmt.Errorf("decode job %s: panic: %v", j.ID, p))
		}
	}()
	if v, err = r.decode(stream.Message{Data: j.Args.Payload}); err != nil {
		err = Permanent(fmt.Errorf("decode job %s: %w", j.ID, err))
	}
	return v, err
}
