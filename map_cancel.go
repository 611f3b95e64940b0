package millhand

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
)

// cancels are those of the jobs for which a mapping waits no longer. It is safe for concurrent use.
type cancels struct {
	client *Client
	ctx    context.Context //nolint:containedctx // outlives that of the loop, until it is given up
	giveUp context.CancelFunc
	room   chan struct{} // holds a token for each job that is being cancelled

	mu     sync.Mutex
	failed int
	first  error // of those that failed
}

// cancel cancels a job. One that cannot be cancelled goes on, as if this process had died.
func (c *cancels) cancel(ref Ref, why error) {
	if err := c.try(ref, why); err != nil && !errors.Is(err, ErrFinished) && !errors.Is(err, ErrNotFound) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failed++
		c.first = cmp.Or(c.first, err)
	}
}

func (c *cancels) try(ref Ref, why error) error {
	select {
	case c.room <- struct{}{}:
		defer func() { <-c.room }()
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	opts := []CancelOption{WithReason(why.Error())}
	if errors.Is(why, ErrTimeout) {
		opts = append(opts, WithGrace(0))
	}
	ctx, stop := context.WithTimeout(c.ctx, leaveWithin)
	defer stop()
	_, err := c.client.Cancel(ctx, ref, opts...)
	return err
}

// report says how many could not be cancelled. Nothing is cancelled after it.
func (c *cancels) report() {
	if c.failed > 0 {
		c.client.log.WarnContext(c.ctx, "jobs for which a map waits no longer could not be cancelled: they go on",
			slog.Int("count", c.failed), slog.Any("err", c.first))
	}
	c.giveUp()
}
