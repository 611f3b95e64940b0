package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// MaxLastMatching is how many subjects [Client.LastMatching] can answer for.
const MaxLastMatching = 1024

// LastMatching returns the newest message of each subject that matches one, wildcards allowed, with a
// sequence from or later, the oldest first and n of them at most; 0: all. It costs the broker by what
// matches, wherever that is. It returns [ErrTooMany] if more than [MaxLastMatching] subjects match,
// be their messages older than from, and [nats.ErrNoResponders] as [Client.LastOfEach] does.
func (c *Client) LastMatching(ctx context.Context, stream, subject string, from uint64, n int) ([]*Message, error) {
	query := map[string]any{"multi_last": []string{subject}, "max_bytes": maxLastsBytes}
	if from > 0 {
		query["seq"] = from
	}
	if n > 0 {
		query["batch"] = n
	}
	found, _, err := c.direct(ctx, stream, query)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	return found, nil
}

// NextAny is [Client.Next] as any replica knows it, and asks the leader if none may answer.
//
// The broker looks through the stream from there on, block after block, so a subject that is rare
// where it looks holds up all writers meanwhile. From the beginning of the stream it goes by its
// index of subjects instead, which costs by what matches.
func (c *Client) NextAny(ctx context.Context, stream, subject string, from uint64) (*Message, error) {
	m, err := c.directOne(ctx, stream, map[string]any{"next_by_subj": subject, "seq": max(from, 1)})
	if cannotReadDirectly(err) {
		return c.Next(ctx, stream, subject, from)
	}
	return m, err
}

// GetAny is [Client.Get] as any replica knows it, and asks the leader if none may answer.
func (c *Client) GetAny(ctx context.Context, stream string, seq uint64) (*Message, error) {
	m, err := c.directOne(ctx, stream, map[string]any{"seq": seq})
	if cannotReadDirectly(err) {
		return c.Get(ctx, stream, seq)
	}
	return m, err
}

// FirstSince returns the first message that was stored at a time or later, as any replica knows it,
// or [ErrNotFound].
func (c *Client) FirstSince(ctx context.Context, stream string, at time.Time) (*Message, error) {
	return c.directOne(ctx, stream, map[string]any{"start_time": at.UTC(), "next_by_subj": ">"})
}

// Page returns n messages at most, or as many as fit, from a sequence on, of all subjects, as any replica
// knows them; and whether it has more behind them. It costs the broker by n if the sequence is in
// the newer half of the stream, or the stream has no gaps; else by all that the stream has.
func (c *Client) Page(ctx context.Context, stream string, from uint64, n int) (page []*Message, more bool, err error) {
	found, end, err := c.direct(ctx, stream, map[string]any{"seq": max(from, 1), "batch": n, "max_bytes": scanBytes})
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", stream, err)
	}
	return found, number(end, headerPending) > 0, nil
}

// directOne asks any replica for one message, or [ErrNotFound].
func (c *Client) directOne(ctx context.Context, stream string, query map[string]any) (*Message, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	body, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	subject := c.API("DIRECT.GET." + stream)
	m, err := c.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Data: body})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, c.Denied(subject, unconnected(err)))
	}
	switch status := m.Header.Get(HeaderStatus); status {
	case "":
		return directMessage(m), nil
	case "404":
		return nil, ErrNotFound
	default:
		return nil, fmt.Errorf("read %s: the broker says %s %s", stream, status, m.Header.Get(HeaderDescription))
	}
}

func cannotReadDirectly(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrPermissionViolation)
}

// BySeq sorts messages, the oldest first, and drops those that are there twice.
func BySeq(all []*Message) []*Message {
	slices.SortFunc(all, func(a, b *Message) int {
		switch {
		case a.Seq < b.Seq:
			return -1
		case a.Seq > b.Seq:
			return 1
		}
		return 0
	})
	return slices.CompactFunc(all, func(a, b *Message) bool { return a.Seq == b.Seq })
}
