package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/supervisor"
)

// answerWithin is how long nodes have to say what they run. Of one that does not, its
// record has to do.
const answerWithin = 500 * time.Millisecond

// maxAnswer is how many running jobs a node names in one answer.
const maxAnswer = 5000

// A query asks nodes for running jobs. Empty fields match all.
type query struct {
	Type  string `json:"type,omitempty"`
	Queue string `json:"queue,omitempty"`
	ID    string `json:"id,omitempty"`

	// Tree asks one node for its supervision tree instead: the others do not answer, but those of earlier versions,
	// which know of no such thing.
	Tree string `json:"tree,omitempty"`
}

func (q query) matches(r Running) bool {
	return (q.Type == "" || q.Type == r.Type) && (q.Queue == "" || q.Queue == r.Queue) && (q.ID == "" || q.ID == r.ID)
}

func (q query) of(all []Running) []Running {
	var found []Running
	for _, r := range all {
		if q.matches(r) {
			found = append(found, r)
		}
	}
	return found
}

type answer struct {
	Node    string    `json:"node"`
	Running []Running `json:"running"`
	Standing

	Tree *supervisor.Node `json:"tree,omitempty"`
}

// A Standing is how one job stands with a node that was asked for it. Earlier versions say nothing of it.
type Standing struct {
	InHand bool `json:"in_hand,omitempty"` // it was handed the job, and has not given it back
	Free   *int `json:"free,omitempty"`    // how many more jobs of its queue it could take; nil: not known

	// Presence is what the node would write of itself now: its record is some seconds old.
	Presence *Node `json:"presence,omitempty"`
}

func (s *Store) querySubject() string { return s.control + "running" }

// Running returns the running jobs of a type, or all if that is empty, the oldest first: as
// the nodes say when asked. Of one that does not answer it is what it wrote last.
func (s *Store) Running(ctx context.Context, typ string) ([]Running, error) {
	return s.ask(ctx, query{Type: typ})
}

// Owner returns the running job with its node; false if it does not run.
func (s *Store) Owner(ctx context.Context, queue, typ, id string) (Running, bool, error) {
	found, err := s.ask(ctx, query{Queue: queue, Type: typ, ID: id})
	if err != nil || len(found) == 0 {
		return Running{}, false, err
	}
	return found[len(found)-1], true, nil
}

// ask collects the answers of all nodes there are.
func (s *Store) ask(ctx context.Context, q query) ([]Running, error) {
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var found []Running
	silent, err := s.askEach(ctx, nodes, q, func(a *answer) { found = append(found, named(a.Running, a.Node)...) })
	if err != nil {
		return nil, err
	}
	for _, n := range silent {
		found = append(found, named(q.of(n.Running), n.ID)...)
	}
	slices.SortFunc(found, func(a, b Running) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return found, nil
}

// askEach asks all nodes at once, has each answer heard, and returns the nodes that gave none in time.
func (s *Store) askEach(ctx context.Context, nodes []Node, q query, heard func(*answer)) (silent []Node, err error) {
	if len(nodes) == 0 {
		return nil, nil
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	sub, err := s.nc.SubscribeSync(s.nc.NewInbox())
	if err != nil {
		return nil, fmt.Errorf("ask nodes: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails with the connection only
	heed, done := s.client.Heed(ctx, s.querySubject())
	defer done()
	if err := s.nc.PublishRequest(s.querySubject(), sub.Subject, body); err != nil {
		return nil, fmt.Errorf("ask nodes: %w", err)
	}
	within, cancel := context.WithTimeout(heed, answerWithin)
	defer cancel()
	silent = slices.Clone(nodes)
	for len(silent) > 0 {
		m, err := sub.NextMsgWithContext(within)
		if err != nil || m.Header.Get("Status") == "503" {
			break
		}
		var a answer
		if json.Unmarshal(m.Data, &a) != nil {
			continue
		}
		silent = slices.DeleteFunc(silent, func(n Node) bool { return n.ID == a.Node })
		heard(&a)
	}
	if heed.Err() != nil {
		return nil, context.Cause(heed)
	}
	return silent, nil
}

func named(running []Running, node string) []Running {
	for i := range running {
		running[i].Node = node
	}
	return running
}

// reply answers a query of another node or client.
func (a *Agent) reply(m *nats.Msg) error {
	var q query
	if err := json.Unmarshal(m.Data, &q); err != nil {
		return nil //nolint:nilerr // nobody of ours asks so
	}
	if q.Tree != "" {
		return a.replyTree(m, q.Tree)
	}
	if a.cfg.Snapshot == nil {
		return nil
	}
	return a.store.reply(m, q, a.cfg.Snapshot(), a.cfg.Standing)
}

func (s *Store) reply(m *nats.Msg, q query, n Node, standing func(queue, typ, id string) Standing) error {
	found := q.of(n.Running)
	a := answer{Node: n.ID, Running: found[:min(len(found), maxAnswer)]}
	if q.Queue != "" && q.Type != "" && q.ID != "" && standing != nil {
		a.Standing = standing(q.Queue, q.Type, q.ID)
		a.Presence = new(n.bounded())
	}
	b, err := json.Marshal(a)
	if err == nil && int64(len(b)) > s.nc.MaxPayload()/2 { // long notes of very many
		for i := range a.Running {
			a.Running[i].Progress = nil
		}
		b, err = json.Marshal(a)
	}
	if err != nil {
		return err
	}
	return m.Respond(b)
}
