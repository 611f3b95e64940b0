package view

import (
	"context"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
)

// Head returns up to n messages of a part from a sequence on, the oldest first, up to a sequence or, if
// that is 0, to the end. It reads them one by one, so that it costs the broker by n wherever they are; a
// part that is rare there makes it look through what is in between.
func (v *View) Head(ctx context.Context, p queue.Part, from, upTo uint64, n int) ([]*stream.Message, error) {
	return v.forward(ctx, p, from, upTo, n)
}
