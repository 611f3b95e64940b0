package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

const (
	// listPatience is how long a list of consumers is waited for: the server asks the leader of each
	// consumer, and waits up to four seconds for one that is silent.
	listPatience = time.Second
	// infoPatience is how long the leader of one consumer is waited for after that.
	infoPatience = 200 * time.Millisecond
	// maxInfos is how many are waited for at once.
	maxInfos = 256
)

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

// Subjects returns the subjects of a stream's messages that match a filter. It is for few: the broker makes a list of
// all, and cuts it at 100,000.
func (c *Client) Subjects(ctx context.Context, stream, filter string) (subjects []string, err error) {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := c.Request(ctx, "STREAM.INFO."+stream, map[string]any{"subjects_filter": filter}, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	for subject := range answer.State.Subjects {
		subjects = append(subjects, subject)
	}
	return subjects, nil
}

// A ConsumerList is what the leaders of a stream's consumers say.
type ConsumerList struct {
	Infos  []*jetstream.ConsumerInfo
	Silent []string // names of those whose leader has not answered, or that have none
}

// Consumers lists the consumers of a stream with a request for each 256 of them. If that is not
// answered within a second, since a leader is silent, each consumer is asked for by itself. It
// returns [ErrNotFound] if the stream is not there.
func (c *Client) Consumers(ctx context.Context, stream string) (ConsumerList, error) {
	list, err := c.consumersAtOnce(ctx, stream)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return c.consumersOneByOne(ctx, stream)
	}
	return list, err
}

func (c *Client) consumersAtOnce(ctx context.Context, stream string) (ConsumerList, error) {
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

// consumersOneByOne asks the leader of each consumer by itself. Their names are known without asking
// leaders.
func (c *Client) consumersOneByOne(ctx context.Context, stream string) (ConsumerList, error) {
	names, err := c.consumerNames(ctx, stream)
	if err != nil {
		return ConsumerList{}, err
	}
	infos := make([]*jetstream.ConsumerInfo, len(names))
	var g errgroup.Group
	g.SetLimit(maxInfos)
	for i, name := range names {
		g.Go(func() error {
			infos[i] = c.consumerInfo(ctx, stream, name)
			return nil
		})
	}
	_ = g.Wait() // none fails
	var list ConsumerList
	for i, info := range infos {
		if info == nil {
			list.Silent = append(list.Silent, names[i])
			continue
		}
		list.Infos = append(list.Infos, info)
	}
	return list, nil
}

func (c *Client) consumerNames(ctx context.Context, stream string) (names []string, err error) {
	for {
		var page struct {
			Error     *jetstream.APIError `json:"error"`
			Total     int                 `json:"total"`
			Consumers []string            `json:"consumers"`
		}
		short, cancel := context.WithTimeout(ctx, listPatience)
		err := c.Request(short, "CONSUMER.NAMES."+stream, map[string]any{"offset": len(names)}, &page)
		cancel()
		switch {
		case err != nil:
			return nil, fmt.Errorf("list consumers of %s: %w", stream, err)
		case page.Error != nil:
			return nil, fmt.Errorf("list consumers of %s: %w", stream, page.Error)
		}
		names = append(names, page.Consumers...)
		if len(page.Consumers) == 0 || len(names) >= page.Total {
			return names, nil
		}
	}
}

// consumerInfo returns what the leader of a consumer says, nil if it says nothing.
func (c *Client) consumerInfo(ctx context.Context, stream, name string) *jetstream.ConsumerInfo {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.ConsumerInfo
	}
	short, cancel := context.WithTimeout(ctx, infoPatience)
	defer cancel()
	if err := c.Request(short, "CONSUMER.INFO."+stream+"."+name, struct{}{}, &answer); err != nil || answer.Error != nil {
		return nil
	}
	return &answer.ConsumerInfo
}
