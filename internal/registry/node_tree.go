package registry

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/supervisor"
)

// Tree asks a node for its supervision tree. It is nil if the node does not say within half a second: it is gone, or of
// a version that cannot, which then looks for jobs of a type that no job has. What runs under a dynamic supervisor,
// which are jobs, is left out of it.
func (s *Store) Tree(ctx context.Context, node string) (tree *supervisor.Node, err error) {
	_, err = s.askEach(ctx, []Node{{ID: node}}, query{Tree: node, Type: manyToken}, func(a *answer) {
		if a.Node == node {
			tree = a.Tree
		}
	})
	return tree, err
}

func (a *Agent) replyTree(m *nats.Msg, of string) error {
	if of != a.cfg.Node || a.cfg.Tree == nil {
		return nil
	}
	tree := withoutJobs(a.cfg.Tree())
	b, err := json.Marshal(answer{Node: a.cfg.Node, Running: []Running{}, Tree: &tree})
	if err != nil {
		return err
	}
	return m.Respond(b)
}

// withoutJobs is a tree without what comes and goes.
func withoutJobs(n supervisor.Node) supervisor.Node {
	if n.Kind == supervisor.KindDynamic {
		n.Children = nil
	}
	n.Children = slices.Clone(n.Children)
	for i := range n.Children {
		n.Children[i] = withoutJobs(n.Children[i])
	}
	return n
}
