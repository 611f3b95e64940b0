package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
)

// noteWithin is how long nodes have to say that they have noted an order.
const noteWithin = 2 * time.Second

// shownOrder is an order as all nodes are shown it, so that they need not wait for the bucket.
type shownOrder struct {
	Key   string          `json:"key"`
	Rev   uint64          `json:"rev"`
	Order json.RawMessage `json:"order"`
}

// notedOrder is a node's answer. One that has very many of the jobs in hand gives several.
type notedOrder struct {
	Node string     `json:"node"`
	Held []job.Held `json:"held,omitempty"`
	More bool       `json:"more,omitempty"`
}

func (s *Store) cancelSubject() string { return s.control + cancelKeys }

// ShowOrder has all nodes note an order that was given. Whatever reaches a node after it has answered
// does not start. It waits for all nodes that are there, for two seconds at most.
func (s *Store) ShowOrder(ctx context.Context, o *job.Order) (job.Answers, error) {
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return job.Answers{}, err
	}
	silent := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		silent[n.ID] = true
	}
	body, err := json.Marshal(shownOrder{Key: orderKey(o), Rev: o.Rev, Order: encodeOrder(o)})
	if err != nil {
		return job.Answers{}, err
	}
	sub, err := s.nc.SubscribeSync(s.nc.NewInbox())
	if err != nil {
		return job.Answers{}, fmt.Errorf("show order: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails with the connection only
	heed, done := s.client.Heed(ctx, s.cancelSubject())
	defer done()
	if err := s.nc.PublishRequest(s.cancelSubject(), sub.Subject, body); err != nil {
		return job.Answers{}, fmt.Errorf("show order: %w", err)
	}
	within, cancel := context.WithTimeout(heed, noteWithin)
	defer cancel()
	var a job.Answers
	for len(silent) > 0 {
		m, err := sub.NextMsgWithContext(within)
		if err != nil || m.Header.Get("Status") == "503" {
			break
		}
		var noted notedOrder
		if json.Unmarshal(m.Data, &noted) != nil {
			continue
		}
		if !noted.More {
			delete(silent, noted.Node)
		}
		for _, h := range noted.Held {
			h.Worker = noted.Node
			a.Held = append(a.Held, h)
		}
	}
	if heed.Err() != nil {
		return job.Answers{}, context.Cause(heed)
	}
	a.Unanswered = slices.Sorted(maps.Keys(silent))
	return a, nil
}

// answerOrder says which of the jobs of an order a node has in hand, once it has noted it.
func answerOrder(m *nats.Msg, node string, held []job.Held) error {
	for {
		part := held[:min(len(held), maxAnswer)]
		held = held[len(part):]
		b, err := json.Marshal(notedOrder{Node: node, Held: part, More: len(held) > 0})
		if err != nil {
			return err
		}
		if err := m.Respond(b); err != nil || len(held) == 0 {
			return err
		}
	}
}

// readShown reads an order that a node is shown.
func readShown(m *nats.Msg) (*job.Order, error) {
	var shown shownOrder
	if err := json.Unmarshal(m.Data, &shown); err != nil {
		return nil, err
	}
	return decodeOrder(shown.Key, shown.Order, shown.Rev)
}
