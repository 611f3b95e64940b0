package registry

import (
	"io"
	"strconv"
	"testing"
	"time"
)

// Many nodes that wait for few permits keep those busy, and cost little while they wait.
func TestManyNodesWaitForFewPermits(t *testing.T) {
	if testing.Short() {
		t.Skip("measures what a hundred nodes cost; few show the same races")
	}
	const nodes = 100 // five times a crowd
	inScene(t, func(s *scene) {
		s.logs = io.Discard
		const permits = 3
		s.limit(imports, permits, 0)
		var all []*node
		for i := range nodes {
			all = append(all, s.node("n"+strconv.Itoa(i), nodeConfig{concurrency: 8, types: []string{"import"}, jobs: 200 * time.Millisecond, look: 20 * time.Millisecond}))
		}
		time.Sleep(10 * time.Second)
		for _, n := range all {
			n.mu.Lock()
			clear(n.sent)
			n.mu.Unlock()
		}
		const watched = 20 * time.Second
		worst, idle := 0, 0
		sum := 0.0
		for range watched / time.Second {
			use := s.measure(imports, time.Second)
			sum += use
			if use > 0 {
				idle = 0
			} else if idle++; idle > worst {
				worst = idle
			}
		}
		if use := sum / (float64(watched) / float64(time.Second)); use < 0.9*permits {
			s.t.Errorf("%.2f of %d permits are busy while %d nodes wait", use, permits, nodes)
		} else {
			s.t.Logf("%.2f of %d permits are busy, at most %d s in a row none", use, permits, worst)
		}
		if worst > 1 {
			s.t.Errorf("nothing ran for %d s though jobs wait", worst)
		}
		reads, writes, hints := 0, 0, 0
		for _, n := range all {
			n.mu.Lock()
			reads += n.sent["$JS.API.DIRECT.GET"]
			writes += n.sent["$KV.millhand-registry.grant"]
			hints += n.sent["millhand.control"]
			n.mu.Unlock()
		}
		each := func(n int) float64 { return float64(n) / float64(nodes) / watched.Seconds() }
		s.t.Logf("each node sends %.2f reads, %.2f writes and %.2f hints a second", each(reads), each(writes), each(hints))
		// A read brings the grants of all nodes, and a hint goes to all of them.
		if each(reads) > 0.25 || each(writes) > 0.45 || float64(hints)/watched.Seconds() > 10 {
			s.t.Errorf("each node that waits sends %.2f reads, %.2f writes and %.2f hints a second", each(reads), each(writes), each(hints))
		}
	})
}
