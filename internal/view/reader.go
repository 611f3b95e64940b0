package view

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

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
	var all []*stream.Message
	for ahead := 1; len(all) < n; {
		ahead = min(ahead, n-len(all))
		if upTo > 0 && from+uint64(ahead)-1 > upTo { //nolint:gosec // at most maxReads
			if from > upTo {
				break
			}
			ahead = int(upTo - from + 1) //nolint:gosec // at most maxReads
		}
		found, end, err := v.readAhead(ctx, p, from, ahead)
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
			ahead = min(2*ahead, maxReads)
		case 2*len(found) < ahead:
			ahead = max(ahead/2, 1)
		}
	}
	return all, nil
}

// readAhead reads the first message behind each of the next sequences, and reports whether there is
// none behind the last.
func (v *View) readAhead(ctx context.Context, p queue.Part, from uint64, ahead int) (found []*stream.Message, end bool, err error) {
	answers := make([]*stream.Message, ahead)
	g, ctx := errgroup.WithContext(ctx)
	for i := range answers {
		g.Go(func() error {
			m, err := v.cfg.Client.NextAny(ctx, p.Stream, p.Subject, from+uint64(i)) //nolint:gosec // an index
			if errors.Is(err, queue.ErrNotFound) {
				return nil
			}
			answers[i] = m
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, false, err
	}
	for _, m := range answers {
		if m == nil {
			end = true
			continue
		}
		found = append(found, m)
	}
	return stream.BySeq(found), end, nil
}
