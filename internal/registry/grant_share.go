package registry

import (
	"cmp"
	"slices"
	"sort"
)

// A Grant is what a node says of its part in a pool.
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

// claim is a node's part in a division: so many at least, and so many at most.
type claim struct {
	id string
	Grant
	low, high int
}

func (c claim) at(level int) int { return min(max(level, c.low), c.high) }

// targets divides a limit among nodes: first by what they need, then by what they want. Each
// is max–min fair, so that nobody gets more while somebody who needs, or wants, as much has
// less, and nothing stays idle that somebody wants. What cannot be divided stays with those
// who hold it already unless they have had their turn, else goes by id: whoever sees the
// same grants comes to the same targets, and a division once reached does not move.
func targets(limit int, nodes map[string]Grant) map[string]int {
	claims, needs := make([]claim, 0, len(nodes)), 0
	for id, g := range nodes {
		claims = append(claims, claim{id, g, 0, g.needs()})
		needs += g.needs()
	}
	if needs <= limit {
		for i, c := range claims {
			claims[i].low, claims[i].high = c.high, c.wants()
		}
	}
	level, left := waterline(limit, claims)
	out := make(map[string]int, len(nodes))
	above := claims[:0] // who would have one more
	for _, c := range claims {
		out[c.id] = c.at(level)
		if c.at(level+1) > c.at(level) {
			above = append(above, c)
		}
	}
	slices.SortFunc(above, func(a, b claim) int {
		return cmp.Or(
			cmp.Compare(a.Turn, b.Turn),
			-cmp.Compare(min(a.Held, level+1), min(b.Held, level+1)),
			-cmp.Compare(min(a.Used, level+1), min(b.Used, level+1)),
			cmp.Compare(a.id, b.id))
	})
	for _, c := range above[:min(left, len(above))] {
		out[c.id]++
	}
	return out
}

// waterline returns how many permits everybody can have whose claim that is, and how many are
// left then, fewer than there are nodes that claim more.
func waterline(limit int, claims []claim) (level, left int) {
	sum := func(level int) (n int) {
		for _, c := range claims {
			n += c.at(level)
		}
		return n
	}
	most := 0
	for _, c := range claims {
		most = max(most, c.high)
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

// lastTurn is the turn of who is to have the next one after all others.
func lastTurn(nodes map[string]Grant) int {
	last := 0
	for _, g := range nodes {
		last = max(last, g.Turn)
	}
	return last + 1
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
