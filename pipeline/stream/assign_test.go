package stream

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// Processes that come and go share partitions out evenly within a few rounds, and then move none.
func TestAssign(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.IntRange(1, 20).Draw(t, "partitions")
		owners := map[int]string{}
		members := []string{"a"}
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			if len(members) > 1 && rapid.Bool().Draw(t, "leaves") {
				gone := members[rapid.IntRange(0, len(members)-1).Draw(t, "who")]
				members = slices.DeleteFunc(members, func(m string) bool { return m == gone })
				maps.DeleteFunc(owners, func(_ int, o string) bool { return o == gone })
			} else {
				members = append(members, "n"+strconv.Itoa(rapid.IntRange(0, 1<<20).Draw(t, "name")))
				slices.Sort(members)
				members = slices.Compact(members)
			}
			var moved int
			for round := range 2 * partitions {
				before := maps.Clone(owners)
				moved = 0
				for _, m := range members { // one after the other, as their writes are
					s := shares{partitions: partitions, node: m, members: members, owners: owners}
					take, give := s.assign()
					for _, p := range take {
						if owner, ok := owners[p]; ok {
							t.Fatalf("%s takes %d from %s", m, p, owner)
						}
						owners[p] = m
					}
					for _, p := range give {
						if owners[p] != m {
							t.Fatalf("%s gives %d, which is %s's", m, p, owners[p])
						}
						delete(owners, p)
					}
					moved += len(take) + len(give)
				}
				if moved == 0 && maps.Equal(before, owners) {
					break
				}
				if round > 5 {
					t.Fatalf("still moving after %d rounds: %v", round, owners)
				}
			}
			counts := map[string]int{}
			for _, o := range owners {
				counts[o]++
			}
			for _, m := range members {
				if c := counts[m]; c < partitions/len(members) || c > partitions/len(members)+1 {
					t.Fatalf("%s has %d of %d among %d: %v", m, c, partitions, len(members), owners)
				}
			}
			if len(owners) != partitions {
				t.Fatalf("%d of %d have an owner", len(owners), partitions)
			}
		}
	})
}
