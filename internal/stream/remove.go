package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Purge says what is removed of a stream. The zero value is all of it.
type Purge struct {
	Subject string `json:"filter,omitempty"` // wildcards allowed; empty: any
	Below   uint64 `json:"seq,omitempty"`    // what has a smaller sequence; 0: any
}

// Purge removes messages from a stream and returns how many there were.
func (c *Client) Purge(ctx context.Context, stream string, what Purge) (removed uint64, err error) {
	var answer struct {
		Error  *jetstream.APIError `json:"error"`
		Purged uint64              `json:"purged"`
	}
	if err := c.Request(ctx, "STREAM.PURGE."+stream, what, &answer); err != nil {
		return 0, err
	}
	if answer.Error != nil {
		return 0, answer.Error
	}
	return answer.Purged, nil
}

// RemoveAll removes all that a subject has, one message after the other. It is for what is removed
// while the disk may be full: a purge may then stop the stream for good, since nats-server (2.15.2)
// flushes what it has to write under a lock that it takes again if that fails.
func (c *Client) RemoveAll(ctx context.Context, stream, subject string) error {
	for before := uint64(0); ; {
		m, err := c.Last(ctx, stream, subject)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Seq == before {
			return fmt.Errorf("message %d of stream %s cannot be removed", m.Seq, stream)
		}
		if err := c.Remove(ctx, stream, m.Seq); err != nil {
			return err
		}
		before = m.Seq
	}
}

// Remove removes one message from a stream. It is no error if that is gone.
func (c *Client) Remove(ctx context.Context, stream string, seq uint64) error {
	if c.cfg.Wrote != nil {
		defer c.wrote("", time.Now())
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	query := map[string]any{"seq": seq, "no_erase": true}
	if err := c.Request(ctx, "STREAM.MSG.DELETE."+stream, query, &answer); err != nil {
		return err
	}
	if e := answer.Error; e != nil && e.ErrorCode != CodeDeleteFailed && e.ErrorCode != CodeNoSequence {
		return e
	}
	return nil
}
