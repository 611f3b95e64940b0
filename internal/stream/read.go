package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Message is what a stream keeps.
type Message struct {
	Subject string
	Seq     uint64
	Header  nats.Header // never nil
	Data    []byte
	Time    time.Time
}

// Last returns the newest message on subject, wildcards allowed, as the stream's leader knows
// it: a direct get may answer from a replica that lags, and decisions hang on this. It returns
// [ErrNotFound] if there is none.
func (c *Client) Last(ctx context.Context, stream, subject string) (*Message, error) {
	return c.read(ctx, stream, map[string]any{"last_by_subj": subject})
}

// Next returns the first message on subject, wildcards allowed, with the sequence from or a later
// one, as the stream's leader knows it. It returns [ErrNotFound] if there is none.
func (c *Client) Next(ctx context.Context, stream, subject string, from uint64) (*Message, error) {
	return c.read(ctx, stream, map[string]any{"seq": from, "next_by_subj": subject})
}

// Get returns the message of a sequence as the stream's leader knows it, or [ErrNotFound].
func (c *Client) Get(ctx context.Context, stream string, seq uint64) (*Message, error) {
	return c.read(ctx, stream, map[string]any{"seq": seq})
}

func (c *Client) read(ctx context.Context, stream string, query map[string]any) (*Message, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Hdrs    []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := c.Request(ctx, "STREAM.MSG.GET."+stream, query, &answer); err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	switch e, m := answer.Error, answer.Message; {
	case e != nil && (e.ErrorCode == CodeNoMessage || e.ErrorCode == CodeStreamNotFound):
		return nil, ErrNotFound
	case e != nil:
		return nil, fmt.Errorf("read %s: %w", stream, e)
	case m == nil:
		return nil, fmt.Errorf("read %s: empty answer", stream)
	default:
		return &Message{Subject: m.Subject, Seq: m.Seq, Header: decodeHeader(m.Hdrs), Data: m.Data, Time: m.Time}, nil
	}
}

// decodeHeader returns an empty header for none and for a broken one: a message with a broken
// header is a message all the same.
func decodeHeader(b []byte) nats.Header {
	h, err := nats.DecodeHeadersMsg(b)
	if err != nil {
		return nats.Header{}
	}
	return h
}

// Info returns the configuration and the state of a stream.
func (c *Client) Info(ctx context.Context, stream string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	st, err := c.findStream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", stream, err)
	}
	return st.CachedInfo(), nil
}

// Stored is a message as a stream's snapshot has it.
func Stored(subject string, seq uint64, nanos int64, header, data []byte) *Message {
	return &Message{Subject: subject, Seq: seq, Header: decodeHeader(header), Data: data, Time: time.Unix(0, nanos).UTC()}
}
