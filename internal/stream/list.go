package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// listPatience is how long a list of consumers is waited for: the server asks the leader of each
// consumer, and waits up to four seconds for one that is silent.
const listPatience = time.Second

// Names returns the names of the streams that store a subject, wildcards allowed, in no order; of all
// streams if that is empty, mirrors included.
func (c *Client) Names(ctx context.Context, subject string) ([]string, error) {
	var names []string
	for {
		var page struct {
			Error   *jetstream.APIError `json:"error"`
			Total   int                 `json:"total"`
			Streams []string            `json:"streams"`
		}
		query := map[string]any{"subject": subject, "offset": len(names)}
		if err := c.Request(ctx, "STREAM.NAMES", query, &page); err != nil {
			return nil, fmt.Errorf("list streams: %w", err)
		}
		if page.Error != nil {
			return nil, fmt.Errorf("list streams: %w", page.Error)
		}
		names = append(names, page.Streams...)
		if len(page.Streams) == 0 || len(names) >= page.Total {
			return names, nil
		}
	}
}

// A ConsumerList is what the leaders of a stream's consumers say.
type ConsumerList struct {
	Infos  []*jetstream.ConsumerInfo
	Silent []string // names of those whose leader has not answered, or that have none
}

// Consumers lists the consumers of a stream with a request for each 256 of them, and waits a second
// for each answer. It returns [ErrNotFound] if the stream is not there, and
// [context.DeadlineExceeded] if a leader is silent, so that the server does not answer in time.
func (c *Client) Consumers(ctx context.Context, stream string) (ConsumerList, error) {
	var list ConsumerList
	for offset := 0; ; {
		var page struct {
			Error     *jetstream.APIError       `json:"error"`
			Total     int                       `json:"total"`
			Consumers []*jetstream.ConsumerInfo `json:"consumers"`
			Missing   []string                  `json:"missing"`
		}
		short, cancel := context.WithTimeout(ctx, listPatience)
		err := c.Request(short, "CONSUMER.LIST."+stream, map[string]any{"offset": offset}, &page)
		cancel()
		switch {
		case err != nil:
			return ConsumerList{}, fmt.Errorf("list consumers of %s: %w", stream, err)
		case page.Error != nil && page.Error.ErrorCode == CodeStreamNotFound:
			return ConsumerList{}, ErrNotFound
		case page.Error != nil:
			return ConsumerList{}, fmt.Errorf("list consumers of %s: %w", stream, page.Error)
		}
		list.Infos, list.Silent = append(list.Infos, page.Consumers...), append(list.Silent, page.Missing...)
		offset += len(page.Consumers) + len(page.Missing)
		if len(page.Consumers)+len(page.Missing) == 0 || offset >= page.Total {
			return list, nil
		}
	}
}
