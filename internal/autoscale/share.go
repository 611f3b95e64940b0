package autoscale

import (
	"math"

	"github.com/millhand/millhand/internal/slots"
)

// A share shares limits out. A job is let through by the limits of its queue, its type and its type's
// key. That is a flow, of which the most is found:
//
//	source ─► queue ─► type ─► key ─► sink
//
// At first each load gets its part of what its limits let through, by what it wants. Where that leaves
// something over, since limits cross, it is given to those who can use it.
type share struct {
	limits map[node]int64 // what a node lets through; one that is not there has no limit
}

// A node is a queue, a type or a key.
type node struct{ kind, name string }

// unlimited can be added to itself, and to what is wanted.
const unlimited = math.MaxInt64 / 4

func newShare() *share { return &share{limits: make(map[node]int64)} }

// limit adds a limit: of several, the lowest holds.
func (s *share) limit(kind, name string, most int64) {
	n := node{kind, name}
	s.limits[n] = min(s.of(n), most)
}

func (s *share) of(n node) int64 {
	if most, limited := s.limits[n]; limited {
		return most
	}
	return unlimited
}

// grant sets what each load is granted of what it wants.
func (s *share) grant(loads []load) {
	for i := range loads {
		loads[i].granted = loads[i].more
	}
	for _, kind := range []string{slots.OfType, slots.OfKey, slots.OfQueue} {
		s.scale(loads, kind)
	}
	f := s.flow(loads)
	for f.augment() {
	}
	for i := range loads {
		loads[i].granted = loads[i].more - f.edges[f.of[i]].room
	}
}

// scale takes from all that share a node of a kind the same part, so that it is not more than that lets
// through.
func (s *share) scale(loads []load, kind string) {
	sums := make(map[node]int64)
	for i := range loads {
		sums[loads[i].node(kind)] += loads[i].granted
	}
	for i := range loads {
		l := &loads[i]
		n := l.node(kind)
		if most := s.of(n); n.name != "" && sums[n] > most {
			l.granted = int64(float64(l.granted) * float64(most) / float64(sums[n]))
		}
	}
}

func (l *load) node(kind string) node {
	switch kind {
	case slots.OfQueue:
		return node{kind, l.Queue}
	case slots.OfKey:
		return node{kind, l.Key}
	}
	return node{slots.OfType, l.Type}
}

// A flow is a network, less what flows through it. Each edge stands beside its reverse, at its
// index xor 1.
type flow struct {
	edges        []edge
	from         map[node][]int // edges
	of           []int          // the edge of each load
	source, sink node
}

type edge struct {
	to   node
	room int64 // for more
}

func (s *share) flow(loads []load) *flow {
	f := &flow{from: make(map[node][]int), source: node{kind: "source"}, sink: node{kind: "sink"}}
	through := make(map[[2]node]int) // edges
	add := func(from, to node, most, flow int64) int {
		key := [2]node{from, to}
		at, there := through[key]
		if !there {
			at = len(f.edges)
			through[key] = at
			f.edges = append(f.edges, edge{to: to, room: most}, edge{to: from})
			f.from[from], f.from[to] = append(f.from[from], at), append(f.from[to], at+1)
		}
		f.push(at, flow)
		return at
	}
	for i := range loads {
		l := &loads[i]
		q, t, k := l.node(slots.OfQueue), l.node(slots.OfType), l.node(slots.OfKey)
		add(f.source, q, s.of(q), l.granted)
		f.of = append(f.of, add(q, t, l.more, l.granted))
		add(t, k, s.of(t), l.granted)
		most := int64(unlimited)
		if k.name != "" {
			most = s.of(k)
		}
		add(k, f.sink, most, l.granted)
	}
	return f
}

func (f *flow) push(at int, more int64) {
	f.edges[at].room -= more
	f.edges[at^1].room += more
}

// augment sends more on the shortest way that has room, and reports whether there is one.
func (f *flow) augment() bool {
	by := map[node]int{f.source: -1} // the edge on which a node was reached
	for next := []node{f.source}; len(next) > 0; next = next[1:] {
		for _, at := range f.from[next[0]] {
			if e := &f.edges[at]; e.room > 0 {
				if _, reached := by[e.to]; !reached {
					by[e.to] = at
					next = append(next, e.to)
				}
			}
		}
	}
	if _, reached := by[f.sink]; !reached {
		return false
	}
	most := int64(unlimited)
	f.back(by, func(at int) { most = min(most, f.edges[at].room) })
	f.back(by, func(at int) { f.push(at, most) })
	return true
}

// back calls do with each edge on the way to the sink.
func (f *flow) back(by map[node]int, do func(at int)) {
	for n := f.sink; n != f.source; {
		at := by[n]
		do(at)
		n = f.edges[at^1].to
	}
}
