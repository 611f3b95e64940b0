package millhand

import (
	"context"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/pipeline/stream"
)

// DeadJobs is what a source of pipeline/stream does with messages that have failed for good: they become
// dead jobs of a queue, of the type <stream> and with the id <stream>--<sequence>, so that one which is given
// twice is there once. If the stream was made again, and counts anew, the second message with a sequence has
// more behind that. What groups or durables share a queue for is there once for all of them: where each is to
// have its own, each needs a queue of its own. The payload is the message's, and its last error that of the job. What is not fit for
// a type's name is a dash.
//
// Requeued, such a job is a ready job of that queue: a worker with a handler of the type runs it.
//
// The function returns [ErrInvalid] for a queue that cannot be one.
func DeadJobs(c *Client, queueName string) stream.DeadFunc {
	return func(ctx context.Context, d *stream.Dead) error {
		foreign := queue.ForeignDead{
			Stream: d.Stream, Subject: d.Subject, Seq: d.Seq, Time: d.Time, Payload: d.Data, Meta: d.Meta,
			Reason: string(d.Reason), Attempt: d.Attempt,
		}
		if d.Err != nil {
			foreign.Error = d.Err.Error()
		}
		return publicError(c.store.BuryForeign(ctx, queueName, &foreign))
	}
}
