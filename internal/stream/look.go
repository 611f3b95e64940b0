package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
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

// NextOfEach asks for the first message on subject behind each of n sequences, beginning with from, all at
// once, and returns what was found, the oldest first and none twice, and whether there is none behind the
// last. It costs what n calls of [Client.NextAny] cost the broker, and less here. Where no replica may
// answer, the leader is asked.
func (c *Client) NextOfEach(ctx context.Context, stream, subject string, from uint64, n int) (found []*Message, end bool, err error) {
	found, end, err = c.nextOfEach(ctx, stream, subject, from, n)
	if !cannotReadDirectly(err) {
		return found, end, err
	}
	var g errgroup.Group
	answers := make([]*Message, n)
	for i := range answers {
		g.Go(func() error {
			m, err := c.Next(ctx, stream, subject, from+uint64(i)) //nolint:gosec // an index
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			answers[i] = m
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, false, err
	}
	found = slices.DeleteFunc(answers, func(m *Message) bool { return m == nil })
	return BySeq(found), len(found) < n, nil
}

// nextOfEach reads from any replica. The answers come in any order.
func (c *Client) nextOfEach(ctx context.Context, stream, subject string, from uint64, n int) (found []*Message, end bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	answer := make(chan *nats.Msg, n)
	sub, err := c.nc.ChanSubscribe(c.nc.NewInbox(), answer)
	if err != nil {
		return nil, false, unconnected(err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails with the connection only
	api := c.API("DIRECT.GET." + stream)
	ctx, done := c.Heed(ctx, api)
	defer done()
	query := struct {
		Subject string `json:"next_by_subj"`
		Seq     uint64 `json:"seq"`
	}{subject, max(from, 1)}
	for range n {
		body, err := json.Marshal(query)
		if err != nil {
			return nil, false, err
		}
		if err := c.nc.PublishRequest(api, sub.Subject, body); err != nil {
			return nil, false, unconnected(err)
		}
		query.Seq++
	}
	found = make([]*Message, 0, n)
	for range n {
		var m *nats.Msg
		select {
		case m = <-answer:
		case <-ctx.Done():
			return nil, false, fmt.Errorf("read %s: %w", stream, c.denied(api, Denial(ctx, ctx.Err())))
		}
		switch status := m.Header.Get(HeaderStatus); status {
		case "":
			found = append(found, directMessage(m))
		case "404":
			end = true
		case statusNoResponders:
			return nil, false, nats.ErrNoResponders
		default:
			return nil, false, fmt.Errorf("read %s: the broker says %s %s", stream, status, m.Header.Get(HeaderDescription))
		}
	}
	return BySeq(found), end, nil
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
	m, err := c.ask(ctx, &nats.Msg{Subject: c.API("DIRECT.GET." + stream), Data: body})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
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
