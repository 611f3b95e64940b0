package pipeline

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/millhand/millhand/internal/batch"
)

// group is what one processor was delivered together: the values that its messages add wait in it until
// all of them are out of Process.
type group struct {
	run    *run
	mu     sync.Mutex
	staged []staging // by the index of their batcher in the run; nil: none yet
}

// staging holds the values of a group for one batcher.
type staging interface {
	empty() bool
	remove(*envelope) (values int)
	commit(context.Context)
}

// add lets f put a value of e into the staging of b. It returns false if e is not in Process.
func (g *group) add(e *envelope, b AnyBatcher, f func(staging)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.group.Load() != g {
		return false
	}
	i := slices.Index(g.run.described, b)
	if i < 0 {
		name, _, _ := b.check()
		e.fail(fmt.Errorf("pipeline: batcher %q is not among the Batchers of pipeline %q", name, g.run.name))
		return true
	}
	if g.staged == nil {
		g.staged = make([]staging, len(g.run.batchers))
	}
	if g.staged[i] == nil {
		g.staged[i] = g.run.batchers[i].stage()
	}
	e.open.Add(1)
	f(g.staged[i])
	return true
}

// enter begins Process of a message.
func (g *group) enter(e *envelope) {
	e.open.Store(1)
	e.group.Store(g)
}

// leave ends Process of a message. Of one that failed nothing stays.
func (g *group) leave(e *envelope, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e.group.Store(nil)
	for _, s := range g.staged {
		if failed && s != nil {
			e.open.Add(int32(-s.remove(e))) //nolint:gosec // there are not that many
		}
	}
}

// holds reports whether there are values.
func (g *group) holds() bool {
	return slices.ContainsFunc(g.staged, func(s staging) bool { return s != nil && !s.empty() })
}

// commit puts the values into their batches, and waits while too many of those wait themselves.
func (g *group) commit(ctx context.Context) {
	for _, s := range g.staged {
		if s != nil {
			s.commit(ctx)
		}
	}
}

type staged[V any] struct {
	to    *batches[V]
	items []batch.Item[batchKey, entry[V]]
}

func (s *staged[V]) add(item batch.Item[batchKey, entry[V]]) {
	if n := len(s.items); n > 0 && s.items[n-1].Value.of == item.Value.of {
		item.Value.index = s.items[n-1].Value.index + 1
	}
	s.items = append(s.items, item)
}

func (s *staged[V]) empty() bool { return len(s.items) == 0 }

func (s *staged[V]) remove(e *envelope) (values int) {
	before := len(s.items)
	s.items = slices.DeleteFunc(s.items, func(i batch.Item[batchKey, entry[V]]) bool { return i.Value.of == e })
	return before - len(s.items)
}

func (s *staged[V]) commit(ctx context.Context) {
	if len(s.items) > 0 {
		s.to.add(ctx, s.items)
		clear(s.items)
		s.items = s.items[:0]
	}
}
