package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// OfWorkers reports whether a key is what workers keep of themselves: their presence, what they are told
// to do, and what they hold of a limit. It means nothing to anybody once they are gone.
func OfWorkers(key string) bool {
	first, _, _ := strings.Cut(key, ".")
	switch first {
	case nodeKeys, orderKeys, ownKeys, wantKeys:
		return true
	case grantKeys, rateKeys:
		return lastToken(key) != limitToken
	}
	return false
}

// PausedBy reports whether a key is the pause of one of these queues.
func PausedBy(key string, queues []string) bool {
	queue, typ, ok := parsePauseKey(key)
	return ok && typ == "" && slices.Contains(queues, queue)
}

// Present returns the ids of the nodes that answer, whether there is a registry or not, and of those
// that it has. It always takes half a second.
func (s *Store) Present(ctx context.Context) ([]string, error) {
	there := make(map[string]bool)
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for i := range nodes {
		there[nodes[i].ID] = true
	}
	sub, err := s.nc.SubscribeSync(s.nc.NewInbox())
	if err != nil {
		return nil, fmt.Errorf("ask nodes: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails with the connection only
	// No job has this type, so no node has much to say.
	body, err := json.Marshal(query{Type: manyToken})
	if err != nil {
		return nil, err
	}
	if err := s.nc.PublishRequest(s.querySubject(), sub.Subject, body); err != nil {
		return nil, fmt.Errorf("ask nodes: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for {
		m, err := sub.NextMsgWithContext(within)
		if err != nil {
			break
		}
		var a answer
		if json.Unmarshal(m.Data, &a) == nil && a.Node != "" {
			there[a.Node] = true
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return slices.Sorted(maps.Keys(there)), nil
}
