package view

import (
	"context"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
)

// maxReads is how many single reads are under way at once.
const maxReads = 64

// forward reads up to n messages of a part from a sequence on, the oldest first, one request each: a
// request for many computes how many more there are, which costs by all of them. Where messages
// follow each other closely, reads go on at the next sequences without waiting; where they do not,
// one waits for the other. With upTo the messages end there; 0: with the stream.
func (v *View) forward(ctx context.Context, p queue.Part, from, upTo uint64, n int) ([]*stream.Message, error) {
	dense := 1
	return v.forwardAt(ctx, p, from, upTo, n, &dense)
}

// forwardAt is forward for who goes on where it ended before, when so many reads were under way at once.
func (v *View) forwardAt(ctx context.Context, p queue.Part, from, upTo uint64, n int, dense *int) ([]*stream.Message, error) {
	var all []*stream.Message
	for len(all) < n {
		ahead := min(*dense, n-len(all))
		if upTo > 0 && from+uint64(ahead)-1 > upTo { //nolint:gosec // at most maxReads
			if from > upTo {
				break
			}
			ahead = int(upTo - from + 1) //nolint:gosec // at most maxReads
		}
		found, end, err := v.cfg.Client.NextOfEach(ctx, p.Stream, p.Subject, from, ahead)
		if err != nil {
			return nil, err
		}
		for _, m := range found {
			if upTo > 0 && m.Seq > upTo {
				return all, nil
			}
			all = append(all, m)
			from = m.Seq + 1
		}
		switch {
		case end:
			return all, nil
		case len(found) == ahead:
			*dense = min(max(*dense, 2*ahead), maxReads)
		case 2*len(found) < ahead:
			*dense = max(ahead/2, 1)
		}
	}
	return all, nil
}
