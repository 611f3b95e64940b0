package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// maxAnswer is how many messages the server sends in one answer, before the one that ends it.
const maxAnswer = 1024

// maxLasts is how many subjects one request names, and maxLastsBytes how much of their messages
// is on its way at once.
const (
	maxLasts      = 1000
	maxLastsBytes = 8 << 20
)

// LastOfEach yields the newest message of each of these subjects that has one, in the order of the
// stream for each thousand of them, the error last. The subjects have no wildcards.
//
// Any replica answers, and may lag behind the leader: what is found was there, and what is not
// found may be there nevertheless. With the error [nats.ErrNoResponders] the stream is not there,
// or does not allow direct reads.
func (c *Client) LastOfEach(ctx context.Context, stream string, subjects []string) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for len(subjects) > 0 {
			n := c.fitting(subjects)
			for m, err := range c.lastOfEach(ctx, stream, subjects[:n]) {
				if !yield(m, err) || err != nil {
					return
				}
			}
			subjects = subjects[n:]
		}
	}
}

// fitting returns how many of the subjects fit into one request.
func (c *Client) fitting(subjects []string) int {
	room := int(c.nc.MaxPayload()) - len(`{"multi_last":[],"seq":,"up_to_seq":,"max_bytes":}`) - 3*len("18446744073709551615")
	for n, s := range subjects[:min(len(subjects), maxLasts)] {
		if room -= len(s) + len(`"",`); room < 0 {
			return max(n, 1)
		}
	}
	return min(len(subjects), maxLasts)
}

// lastOfEach is LastOfEach for as many subjects as fit into one request. All of its pages are of the
// stream as it is at the first one.
func (c *Client) lastOfEach(ctx context.Context, stream string, subjects []string) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		query := map[string]any{"multi_last": subjects, "max_bytes": maxLastsBytes}
		for {
			page, end, err := c.direct(ctx, stream, query)
			if err != nil {
				yield(nil, fmt.Errorf("read %s: %w", stream, err))
				return
			}
			for _, m := range page {
				if !yield(m, nil) {
					return
				}
			}
			if len(page) == 0 || number(end, headerPending) == 0 {
				return
			}
			query["seq"], query["up_to_seq"] = page[len(page)-1].Seq+1, number(end, headerUpTo)
		}
	}
}

// direct asks any replica of a stream for messages, and returns them with the header of what ended
// them. What the server says of a message stays among its headers.
func (c *Client) direct(ctx context.Context, stream string, query map[string]any) (found []*Message, end nats.Header, err error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	body, err := json.Marshal(query)
	if err != nil {
		return nil, nil, err
	}
	answer := make(chan *nats.Msg, maxAnswer+1) // a synchronous subscription has room for 65,536, which is half a megabyte each time
	sub, err := c.nc.ChanSubscribe(c.nc.NewInbox(), answer)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails with the connection only
	subject := c.API("DIRECT.GET." + stream)
	ctx, done := c.Heed(ctx, subject)
	defer done()
	if err := c.nc.PublishRequest(subject, sub.Subject, body); err != nil {
		return nil, nil, unconnected(err)
	}
	for {
		var m *nats.Msg
		select {
		case m = <-answer:
		case <-ctx.Done():
			return nil, nil, c.denied(subject, Denial(ctx, ctx.Err()))
		}
		switch status, text := m.Header.Get(HeaderStatus), m.Header.Get(HeaderDescription); {
		case status == statusNoResponders:
			return nil, nil, nats.ErrNoResponders
		case status == "204", status == "404" && (text == "No Results" || text == "Message Not Found" && len(found) == 0):
			return found, m.Header, nil
		case status == "413":
			return nil, nil, ErrTooMany
		case status != "":
			return nil, nil, fmt.Errorf("the broker says %s %s", status, text)
		}
		found = append(found, directMessage(m))
	}
}

// directMessage reads a message as the server sends it outside of JSON.
func directMessage(m *nats.Msg) *Message {
	at, _ := time.Parse(time.RFC3339Nano, m.Header.Get(headerTime)) // the server's own
	return &Message{Subject: m.Header.Get(headerSubject), Seq: number(m.Header, headerSequence), Header: m.Header, Data: m.Data, Time: at}
}

func number(h nats.Header, key string) uint64 {
	n, err := strconv.ParseUint(h.Get(key), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
