package flow

import "github.com/millhand/millhand/internal/window"

// Group is the result for one key.
type Group[K comparable, A any] struct {
	Key   K
	Value A
	Pane  Pane
}

// Fold makes one value of the events of each key: zero makes the first, and f adds an event to it. The
// groups come when the events have ended, in no particular order. It keeps one value a key; see
// [Keyed.MaxKeys].
//
// With [Keyed.Within] it makes one value of the events of each key in each window, and a group comes for
// each [Pane]. It keeps one value for each key of each open window; of a [Session], its events.
//
// f may change and return the value that it is given, such as a map or a slice to append to.
func Fold[K comparable, T, A any](k Keyed[K, T], zero func(K) A, f func(A, T) A) Stream[Group[K, A]] {
	s := describe("Fold", f)
	if zero == nil {
		s.problem = "Fold needs a function for the first value"
	}
	if !k.window.isPlain() {
		return groupsWithin(k, s, window.Funcs[K, T, A]{Zero: zero, Fold: f})
	}
	return Stream[Group[K, A]]{keyedNode[K, T, pair[K, T], Group[K, A]]{
		in: k, settings: s, tap: pairs[K, T],
		operator: func(p partition, s settings, next sink[Group[K, A]]) sink[pair[K, T]] {
			return &folder[K, T, A]{newGroups[K, A](p, s, next), zero, f, newGauge[A](p.keys)}
		},
	}}
}

// CountBy counts the events of each key, or with [Keyed.Within] those of each key in each window. The
// groups come when the events have ended, or for each [Pane], in no particular order. It keeps one number
// for each key, of each open window; see [Keyed.MaxKeys].
func CountBy[K comparable, T any](k Keyed[K, T]) Stream[Group[K, int]] {
	if !k.window.isPlain() {
		return countWithin(k, settings{name: "CountBy"})
	}
	return Stream[Group[K, int]]{keyedNode[K, T, K, Group[K, int]]{
		in: k, settings: settings{name: "CountBy"},
		tap: func(lane, *horizon) tap[K, T, K] { return tap[K, T, K]{event: func(k K, _ T) K { return k }} },
		operator: func(p partition, s settings, next sink[Group[K, int]]) sink[K] {
			return &counter[K]{newGroups[K, int](p, s, next)}
		},
	}}
}

// groups is what an operator keeps for each key, in the order in which they came.
type groups[K comparable, A any] struct {
	worker[Group[K, A]]
	keys      *keys
	partition int
	places    map[K]int // of keys in list
	list      []entry[K, A]
}

type entry[K comparable, A any] struct {
	key   K
	value A
}

func newGroups[K comparable, A any](p partition, s settings, next sink[Group[K, A]]) groups[K, A] {
	return groups[K, A]{worker: newWorker(p.lane, s, next), keys: p.keys, partition: p.index, places: map[K]int{}}
}

// add begins to keep something for a key.
func (g *groups[K, A]) add(k K, v A) (place int, _ error) {
	if err := g.keys.add(1); err != nil {
		return 0, err
	}
	place = len(g.list)
	g.places[k] = place
	g.list = append(g.list, entry[K, A]{k, v})
	return place, nil
}

func (g *groups[K, A]) end() error {
	return g.finish(func() error {
		for _, e := range g.list {
			g.out = append(g.out, Group[K, A]{Key: e.key, Value: e.value, Pane: Pane{Trigger: Done, Final: true, Revision: 1, Partition: g.partition}})
			if len(g.out) == maxDelivery {
				if err := g.flush(); err != nil {
					return err
				}
			}
		}
		return g.flush()
	})
}

type folder[K comparable, T, A any] struct {
	groups[K, A]
	zero  func(K) A
	f     func(A, T) A
	gauge *gauge[A]
}

func (f *folder[K, T, A]) push(batch []pair[K, T]) error {
	f.begin()
	for _, v := range batch {
		i, ok := f.places[v.key]
		if !ok {
			var err error
			if i, err = f.add(v.key, f.gauge.began(f.zero(v.key))); err != nil {
				return err
			}
		}
		f.list[i].value = fold(f.gauge, f.f, f.list[i].value, v.value)
	}
	f.gauge.tell()
	return nil
}

type counter[K comparable] struct {
	groups[K, int]
}

func (c *counter[K]) push(batch []K) error {
	c.begin()
	for _, k := range batch {
		i, ok := c.places[k]
		if !ok {
			var err error
			if i, err = c.add(k, 0); err != nil {
				return err
			}
		}
		c.list[i].value++
	}
	return nil
}
