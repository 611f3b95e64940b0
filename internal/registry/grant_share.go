package registry

import (
	"cmp"
	"slices"
	"sort"
)

// A Grant is what a node says of its part in a limit.
type Grant struct {
	Held int `json:"held"`           // permits that are its own
	Used int `json:"used"`           // of those, by what runs; more than Held only after its grant was lost or the limit came late
	Need int `json:"need"`           // by what runs and by jobs that are known to wait; what is more than Want does not count
	Want int `json:"want"`           // it could use now, should jobs come, those in use included
	Turn int `json:"turn,omitempty"` // it had its turn, where not all can have a permit at once: the higher the later it has the next
}

// wants is how many permits a node is to have if all can have what they want. What is used
// cannot be taken away, but it can be less than its share later.
func (g Grant) wants() int { return max(g.Want, 0) }

// needs is how many of them it is to have before others have some to spare.
func (g Grant) needs() int { return min(max(g.Need, 0), g.wants()) }

// A demand is what a division may give a node: low at least, and high at most.
type demand struct {
	id string
	Grant
	low, high int
}

func (d demand) at(level int) int { return min(max(level, d.low), d.high) }

// targets divides a limit among nodes: first by what they need, then by what they want. Each
// is max–min fair, so that nobody gets more while somebody who needs, or wants, as much has
// less, and nothing stays idle that somebody wants. What cannot be divided stays with those
// who hold it already unless they have had their turn, else goes by id: whoever sees the
// same grants comes to the same targets, and a division once reached does not move.
func targets(limit int, nodes map[string]Grant) map[string]int {
	demands, needs := make([]demand, 0, len(nodes)), 0
	for id, g := range nodes {
		demands = append(demands, demand{id, g, 0, g.needs()})
		needs += g.needs()
	}
	if needs <= limit {
		for i, d := range demands {
			demands[i].low, demands[i].high = d.high, d.wants()
		}
	}
	level, left := waterline(limit, demands)
	out := make(map[string]int, len(nodes))
	above := demands[:0] // who would have one more
	for _, d := range demands {
		out[d.id] = d.at(level)
		if d.at(level+1) > d.at(level) {
			above = append(above, d)
		}
	}
	slices.SortFunc(above, func(a, b demand) int {
		return cmp.Or(
			cmp.Compare(a.Turn, b.Turn),
			-cmp.Compare(min(a.Held, level+1), min(b.Held, level+1)),
			-cmp.Compare(min(a.Used, level+1), min(b.Used, level+1)),
			cmp.Compare(a.id, b.id))
	})
	for _, d := range above[:min(left, len(above))] {
		out[d.id]++
	}
	return out
}

// waterline returns how many permits each node can have that may have so many, and how many are
// left then, fewer than there are nodes that may have more.
func waterline(limit int, demands []demand) (level, left int) {
	sum := func(level int) (n int) {
		for _, d := range demands {
			n += d.at(level)
		}
		return n
	}
	most := 0
	for _, d := range demands {
		most = max(most, d.high)
	}
	level = sort.Search(min(most, max(limit, 0)), func(level int) bool { return sum(level+1) > limit })
	return level, max(limit-sum(level), 0)
}

// yields reports whether node me, which has held a permit for long enough, is to let another
// have it: there are fewer than nodes that need one, and more nodes wait than yield already.
func yields(limit int, nodes map[string]Grant, me string) bool {
	if g := nodes[me]; g.Held == 0 || g.Turn > 0 || g.needs() == 0 {
		return false
	}
	needy, waiting, yielding := 0, 0, 0
	for _, g := range nodes {
		switch {
		case g.needs() == 0:
			continue
		case g.Held == 0:
			waiting++
		case g.Turn > 0:
			yielding++
		}
		needy++
	}
	return needy > limit && waiting > yielding
}

// stays reports whether node me, which was to let another have its permit, is to keep it after all:
// others that did so at the same time have served those that waited. It then begins another term.
// Else it would count as yielding from then on, and never yield.
func stays(limit int, nodes map[string]Grant, me string) bool {
	g := nodes[me]
	return g.Turn > 0 && g.Held > 0 && targets(limit, nodes)[me] > 0
}

// lastTurn is the turn of who is to have the next one after all others.
func lastTurn(nodes map[string]Grant) int {
	last := 0
	for _, g := range nodes {
		last = max(last, g.Turn)
	}
	return last + 1
}

// A claim is what a node is to hold after its next write, and how much of that it may use.
type claim struct{ hold, use int }

// next is the claim of node me, given what it holds and uses and what the others do. It never
// raises the sum over the limit except for what is used already.
//
// While the sum is above the limit, because that was lowered or because somebody runs what it
// has no permit for, everybody gives up what is free, and nobody uses what becomes free.
func next(limit int, nodes map[string]Grant, me string) claim {
	g := nodes[me]
	target := targets(limit, nodes)[me]
	free := limit
	for _, o := range nodes {
		free -= o.Held
	}
	switch {
	case free < 0:
		return claim{hold: max(g.Used, g.Held+free, 0)}
	case target > g.Held:
		target = g.Held + min(target-g.Held, free)
	}
	return claim{hold: max(target, g.Used), use: target}
}

// pressed reports whether what node me has free is needed: by another that has less than its
// target, or because the sum is above the limit.
func pressed(limit int, nodes map[string]Grant, me string) bool {
	sum := 0
	for id, target := range targets(limit, nodes) {
		if id != me && nodes[id].Held < target {
			return true
		}
		sum += nodes[id].Held
	}
	return sum > limit
}
