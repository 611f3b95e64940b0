package millhand

import (
	"context"
	"time"

	"github.com/millhand/millhand/internal/queue"
)

// A Retention says how long the broker keeps what is known of jobs that have ended. A zero field leaves that as it is.
type Retention struct {
	// Results is how long the ends of jobs are kept, with what their handlers returned, and all
	// other events. At least 1 h. Streams are made with 7 days.
	Results time.Duration

	// Events is how many events are kept; with more of them the oldest go, however young they are. Each
	// costs about 200 B of the broker's memory. At least 1,000. Streams are made with 2,000,000.
	Events int64

	// Dead is how long dead jobs are kept. At least 1 h. Streams are made with 30 days, those of
	// earlier versions without an end.
	Dead time.Duration
}

// The least that a [Retention] may say: events keep two workers that have one job apart, so they
// outlive a lease and a retry.
const (
	MinKept       = queue.MinKept       // 1 h
	MinKeptEvents = queue.MinKeptEvents // 1,000
)

// Check returns an [*InvalidError] if r breaks a rule. [Client.SetRetention] and [NewWorker] check
// the same.
func (r Retention) Check() error { return publicError(queue.Retention(r).Check()) }

// SetRetention changes how long the broker keeps what is known of jobs that have ended. It holds for
// what is kept already as well: what is older goes at once. It returns an [*InvalidError] for a
// retention that breaks a rule.
func (c *Client) SetRetention(ctx context.Context, r Retention) error {
	return publicError(c.store.SetRetention(ctx, queue.Retention(r)))
}
