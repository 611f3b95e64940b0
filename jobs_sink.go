package millhand

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/pipeline"
)

// Jobs is a batch handler of a pipeline that enqueues each value as a job, with its writes in flight
// together. A job's id is that of its message, its batcher and which of the message's values it is, so a
// batch that is handled again enqueues nothing twice while the job is alive. An option of the id wins.
// What is refused fails alone; a store that is full, or a broker that does not answer, fails all that it
// was not answered for.
func Jobs[V any](c *Client, f func(V) Args, opts ...EnqueueOption) func(context.Context, *pipeline.Batch[V]) error {
	return func(ctx context.Context, b *pipeline.Batch[V]) error {
		batch := make([]Request, len(b.Items))
		for i, v := range b.Items {
			batch[i] = Request{Args: f(v), Options: append([]EnqueueOption{WithID(sinkID(b.ID(i)))}, opts...)}
		}
		_, err := c.EnqueueMany(ctx, batch)
		several, ok := errors.AsType[*BatchError](err)
		if !ok {
			return err
		}
		for i, err := range several.Errs {
			if err != nil && !errors.Is(err, ErrDuplicate) { // else it was enqueued before
				b.Fail(i, err)
			}
		}
		return nil
	}
}

// maxSinkID leaves room for what tells those apart that are cut or changed.
const maxSinkID = 100

// sinkID makes an id of where a value comes from, which may hold any text: a slash becomes --, and what is
// changed otherwise is told apart by a hash.
func sinkID(of string) string {
	id := strings.ReplaceAll(of, "/", "--")
	if len(id) <= maxSinkID && job.CheckID(id) == nil {
		return id
	}
	sum := sha256.Sum256([]byte(of))
	return nodeName(id) + "-" + hex.EncodeToString(sum[:16])
}
