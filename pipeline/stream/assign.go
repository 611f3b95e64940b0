package stream

import (
	"cmp"
	"slices"
)

// shares is who has what of a group, as one of its processes sees it.
type shares struct {
	partitions int
	node       string
	members    []string       // who wants partitions, the node itself among them
	owners     map[int]string // of partitions that have one
	leaving    int            // of the node's own: it is giving them up
}

// assign returns which partitions the node should try to take, and which of its own it should give up. Nobody
// has more than his share while somebody else has less than he could have: so only what must moves.
func (s *shares) assign() (take, give []int) {
	n := len(s.members)
	if n == 0 {
		return nil, nil
	}
	counts := map[string]int{}
	var mine, free []int
	for p := range s.partitions {
		switch owner, ok := s.owners[p]; {
		case !ok:
			free = append(free, p)
		case owner == s.node:
			mine = append(mine, p)
			counts[owner]++
		default:
			counts[owner]++
		}
	}
	// The first few members have one more than the others, if it does not come out even.
	members := slices.Clone(s.members)
	slices.SortFunc(members, func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	share := s.partitions / n
	if i := slices.Index(members, s.node); i < s.partitions%n {
		share++
	}
	switch surplus := len(mine) - s.leaving - share; {
	case surplus < 0:
		return free[:min(-surplus, len(free))], nil
	case surplus > 0:
		for _, m := range members {
			if counts[m] < s.partitions/n {
				return nil, mine[len(mine)-surplus:]
			}
		}
	}
	return nil, nil
}
