package registry

import (
	"cmp"
	"slices"
)

// A Grant is what a node says of its part in a pool.
type Grant struct {
	Held int `json:"held"` // permits that are its own
	Used int `json:"used"` // of those, by what runs; more than Held only after its grant was lost or the limit came late
	Want int `json:"want"` // it could use now, those in use included
}

// wants is how many permits a node is to have if all can have what they want. What is used
// cannot be taken away, but it can be less than its share later.
func (g Grant) wants() int { return max(g.Want, 0) }

// targets divides a limit among nodes: max–min fair, so that nobody gets more while somebody
// who wants as much has less, and nothing stays idle that somebody wants. What cannot be
// divided stays with those who hold it already, else goes by id: whoever sees the same
// grants comes to the same targets, and a division once reached does not move.
func targets(limit int, nodes map[string]Grant) map[string]int {
	level, left := waterline(limit, nodes)
	out := make(map[string]int, len(nodes))
	var above []string // who want more than the level
	for id, g := range nodes {
		out[id] = min(g.wants(), level)
		if g.wants() > level {
			above = append(above, id)
		}
	}
	slices.SortFunc(above, func(a, b string) int {
		return cmp.Or(
			-cmp.Compare(min(nodes[a].Held, level+1), min(nodes[b].Held, level+1)),
			-cmp.Compare(min(nodes[a].Used, level+1), min(nodes[b].Used, level+1)),
			cmp.Compare(a, b))
	})
	for _, id := range above[:min(left, len(above))] {
		out[id]++
	}
	return out
}

// waterline returns how many permits everybody can have who wants so many, and how many are
// left then, fewer than there are nodes that want more.
func waterline(limit int, nodes map[string]Grant) (level, left int) {
	wants := make([]int, 0, len(nodes))
	for _, g := range nodes {
		wants = append(wants, g.wants())
	}
	slices.Sort(wants)
	left = max(limit, 0)
	for i, w := range wants {
		thirsty := len(wants) - i // who want at least w
		step := min(w-level, left/thirsty)
		level += step
		left -= step * thirsty
		if level < w {
			return level, left
		}
	}
	return level, left
}

// next is what node me is to hold after its next write and how much of that it may use,
// given what it holds and uses and what the others do. It never raises the sum over the limit
// except for what is used already.
//
// While the sum is above the limit, because that was lowered or because somebody runs what it
// has no permit for, everybody gives up what is free, and nobody uses what becomes free.
func next(limit int, nodes map[string]Grant, me string) (hold, use int) {
	g := nodes[me]
	target := targets(limit, nodes)[me]
	free := limit
	for _, o := range nodes {
		free -= o.Held
	}
	switch {
	case free < 0:
		return max(g.Used, g.Held+free, 0), 0
	case target > g.Held:
		target = g.Held + min(target-g.Held, free)
	}
	return max(target, g.Used), target
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
