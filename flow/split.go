package flow

import (
	"fmt"

	"github.com/millhand/millhand/internal/hash"
)

// receiver is a partition as the goroutines above see it.
type receiver[E any] interface {
	sink[E]
	mark(m mark) error
}

// direct is a partition on the goroutine above it.
type direct[E any] struct{ sink[E] }

func (d direct[E]) mark(m mark) error {
	if op, ok := d.sink.(marker); ok {
		return op.mark(m)
	}
	return nil
}

// splitter is the end of a lane above partitions.
type splitter[K comparable, T, E any] struct {
	lane   lane
	name   string
	key    func(T) K
	assign func(K) int
	tap    tap[K, T, E]
	to     []receiver[E]
	parts  [][]E
}

func newSplitter[K comparable, T, E any](l lane, k Keyed[K, T], t tap[K, T, E], to []receiver[E]) *splitter[K, T, E] {
	s := &splitter[K, T, E]{lane: l, name: k.settings.name, key: k.key, assign: k.assign, tap: t, to: to, parts: make([][]E, len(to))}
	if s.assign == nil {
		s.assign = func(K) int { return 0 }
		if of := hash.Of[K](); len(to) > 1 {
			s.assign = func(k K) int { return hash.Bucket(of(k), len(to)) }
		}
	}
	if t.handled != nil {
		l.g.handled = append(l.g.handled, func() error {
			t.handled()
			return s.marks(false)
		})
	}
	return s
}

func (s *splitter[K, T, E]) push(batch []T) error {
	s.lane.g.step = s.name
	for _, v := range batch {
		k := s.key(v)
		i := s.assign(k)
		if i < 0 || i >= len(s.parts) {
			return fmt.Errorf("flow: PartitionBy: key %v belongs to partition %d, want 0 to %d", k, i, len(s.parts)-1)
		}
		s.parts[i] = append(s.parts[i], s.tap.event(k, v))
	}
	for i, part := range s.parts {
		if len(part) == 0 {
			continue
		}
		if err := s.to[i].push(part); err != nil {
			return err
		}
		clear(part)
		s.parts[i] = part[:0]
	}
	return s.marks(false)
}

// marks tells all partitions how far this lane is.
func (s *splitter[K, T, E]) marks(done bool) error {
	if s.tap.mark == nil {
		return nil
	}
	m, ok := s.tap.mark(done)
	if !ok {
		return nil
	}
	for _, to := range s.to {
		if err := to.mark(m); err != nil {
			return err
		}
	}
	return nil
}

func (s *splitter[K, T, E]) end() error {
	failed := s.lane.interrupted()
	if failed == nil { // else a partition may lack events that the marks would tell to be there
		failed = s.marks(true)
	}
	for _, to := range s.to {
		failed = first(failed, to.end())
	}
	return failed
}
