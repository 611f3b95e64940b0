package registry

import (
	"strconv"
	"testing"
	"time"
)

// setIdle has jobs of a node run out, or come again.
func (n *node) setIdle(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.idle = on
}

// Nodes without jobs leave all permits to one that has some.
func TestIdleNodesYield(t *testing.T) {
	for _, limit := range []int{1, 2, 10} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.limit(imports, limit, 0)
				var idle []*node
				for i := range 4 {
					idle = append(idle, s.node("n"+strconv.Itoa(i), busy))
				}
				time.Sleep(5 * time.Second)
				for _, n := range idle {
					n.setIdle(true)
				}
				s.node("late", busy)
				time.Sleep(3 * time.Second)
				s.checkUsed(imports, limit, 10*time.Second)
				for _, n := range idle {
					n.setIdle(false)
				}
				time.Sleep(shareWithin)
				s.checkFair(imports, limit)
			})
		})
	}
}

// Where there are fewer permits than nodes that have jobs, each has its turn, and the limit is
// well used all the time; also if one that waits for its turn dies.
func TestNodesTakeTurns(t *testing.T) {
	for _, limit := range []int{1, 3} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.limit(imports, limit, 0)
				var nodes []*node
				for i := range 5 {
					nodes = append(nodes, s.node("n"+strconv.Itoa(i), busy))
				}
				time.Sleep(time.Second)
				const watched = time.Minute
				s.checkUsed(imports, limit, watched)
				least, most := 1<<30, 0
				for _, n := range nodes {
					n.mu.Lock()
					least, most = min(least, n.serial), max(most, n.serial)
					n.mu.Unlock()
				}
				if most > 2*least {
					s.t.Errorf("one node ran %d jobs, another %d", least, most)
				}
				for id, g := range s.held(imports) {
					if g.Held == 0 {
						s.node("late", busy)
						s.nodes[id].crash()
						break
					}
				}
				time.Sleep(DefaultTTL + time.Second)
				s.checkUsed(imports, limit, watched/4)
			})
		})
	}
}
