package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
)

// How much one request of a [Client.Scan] asks for, at most.
const (
	scanPage  = 1000
	scanBytes = 8 << 20
)

// A Scan says what of a stream is read.
type Scan struct {
	Subject    string // wildcards allowed
	From, UpTo uint64 // sequences, both included
	// Since leaves out what was stored before, by the broker's clock; zero: nothing. It goes without
	// From.
	Since time.Time
	Page  int // at most so many in one request; 0: as many as are good
}

// query asks for what is to be read from a sequence on.
func (s Scan) query(from uint64) map[string]any {
	if from <= 1 && !s.Since.IsZero() {
		return map[string]any{"next_by_subj": s.Subject, "start_time": s.Since.UTC()}
	}
	return map[string]any{"next_by_subj": s.Subject, "seq": from}
}

// Scan yields messages of a stream, oldest first, the error last. It asks any replica for a page at
// a time, and the leader for what that does not know yet: nothing is missing that was stored up to
// UpTo when it began. What is removed meanwhile may still be yielded.
//
// If the stream allows no direct reads, or not to this user, it asks the leader for one message at a
// time. Of a stream that is not there it yields nothing.
func (c *Client) Scan(ctx context.Context, stream string, what Scan) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		next, err := c.scanReplica(ctx, stream, what, yield)
		if err != nil {
			yield(nil, fmt.Errorf("read %s: %w", stream, err))
			return
		}
		for next > 0 && next <= what.UpTo {
			m, err := RetryRead(ctx, Within(SetupTimeout), func(ctx context.Context) (*Message, error) {
				return c.read(ctx, stream, what.query(next))
			})
			if errors.Is(err, ErrNotFound) || err == nil && m.Seq > what.UpTo {
				return
			}
			if !yield(m, err) || err != nil {
				return
			}
			next = m.Seq + 1
		}
	}
}

// scanReplica yields what any replica knows, in pages, as far as direct reads are allowed. It returns
// the sequence where the leader is to be asked, 0 if it is not to be.
func (c *Client) scanReplica(ctx context.Context, stream string, what Scan, yield func(*Message, error) bool) (next uint64, err error) {
	next = max(what.From, 1)
	for more := true; more && next <= what.UpTo; {
		page, left, err := c.page(ctx, stream, what, next)
		if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrPermissionViolation) {
			return next, nil
		}
		if err != nil {
			return 0, err
		}
		for _, m := range page {
			if m.Seq > what.UpTo || !yield(m, nil) {
				return 0, nil
			}
			next = m.Seq + 1
		}
		more = left
	}
	return next, nil
}

// page returns the messages from a sequence on that fit into one answer, and whether that replica
// has more.
func (c *Client) page(ctx context.Context, stream string, what Scan, from uint64) (page []*Message, more bool, err error) {
	size := scanPage
	if what.Page > 0 {
		size = min(what.Page, scanPage)
	}
	query := what.query(from)
	query["batch"], query["max_bytes"] = size, scanBytes
	alive := Within(SetupTimeout)
	for pause := RetryPause; ; pause = min(2*pause, MaxRetryPause) {
		found, end, err := c.direct(ctx, stream, query)
		if err == nil {
			return found, len(found) > 0 && number(end, headerPending) > 0, nil
		}
		if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, nats.ErrConnectionClosed) || alive() != nil {
			return nil, false, err
		}
		if err := Sleep(ctx, pause); err != nil {
			return nil, false, err
		}
	}
}

// Count returns how many messages of a stream match a subject, wildcards allowed, as a replica knows
// it: it may lag behind the leader. With the error [nats.ErrNoResponders] the stream is not there, or
// does not allow direct reads.
func (c *Client) Count(ctx context.Context, stream, subject string) (uint64, error) {
	return c.CountFrom(ctx, stream, subject, 1)
}

// CountFrom is [Client.Count] of what has a sequence from or a later one. It costs the broker by all that
// matches.
func (c *Client) CountFrom(ctx context.Context, stream, subject string, from uint64) (uint64, error) {
	found, end, err := c.direct(ctx, stream, map[string]any{"next_by_subj": subject, "seq": from, "batch": 1})
	if err != nil || len(found) == 0 {
		return 0, err
	}
	return uint64(len(found)) + number(end, headerPending), nil
}
