package registry

import (
	"strconv"
	"testing"
	"time"
)

// Bounds of the promise: how soon and how well a limit is used.
const (
	shareWithin = 2 * time.Second // by a node that joins
	wellUsed    = 0.95            // of the permits are busy on average, with jobs of 50 ms
)

var busy = nodeConfig{concurrency: 20, types: []string{"import"}, jobs: 50 * time.Millisecond}

func TestOneNodeUsesTheWholeLimit(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 5, 0)
		s.node("a", busy)
		time.Sleep(time.Second)
		s.checkUsed(imports, 5, 10*time.Second)
	})
}

func TestManyNodesShareTheLimit(t *testing.T) {
	for _, limit := range []int{1, 5, 50} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.limit(imports, limit, 0)
				for i := range 8 {
					s.node("n"+strconv.Itoa(i), busy)
				}
				time.Sleep(time.Second)
				s.checkUsed(imports, limit, 10*time.Second)
				s.checkFair(imports, limit)
			})
		})
	}
}

func TestNodeThatJoinsGetsItsShare(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run("deaf="+strconv.FormatBool(deaf), func(t *testing.T) {
			inScene(t, func(s *scene) {
				cfg, within := busy, shareWithin
				if cfg.deaf = deaf; deaf {
					within = 2 * DefaultTTL / 3 // each hears of the other at its refresh
				}
				s.limit(imports, 10, 0)
				s.node("a", cfg)
				time.Sleep(time.Minute)
				s.node("b", cfg)
				time.Sleep(within)
				s.checkFair(imports, 10)
				s.checkUsed(imports, 10, time.Second)
			})
		})
	}
}

// Long jobs keep their permits; what they leave goes to who waits for it.
func TestShareOfLongJobs(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 10, 0)
		s.node("a", nodeConfig{concurrency: 20, types: []string{"import"}, jobs: 20 * time.Second})
		time.Sleep(time.Second)
		b := s.node("b", nodeConfig{concurrency: 20, types: []string{"import"}, jobs: 20 * time.Second})
		time.Sleep(35 * time.Second) // the longest takes 30
		s.checkFair(imports, 10)
		s.checkUsed(imports, 10, time.Second)
		running := len(b.snapshot().Running)
		if running == 4 { // one has ended: the next begins when the node looks
			time.Sleep(2 * lookForJobs)
			running = len(b.snapshot().Running)
		}
		if running != 5 {
			s.t.Errorf("the second node runs %d, want 5", running)
		}
	})
}

func TestPermitsOfKilledNodeReturn(t *testing.T) {
	for wait := 10 * time.Second; wait < 14*time.Second; wait += 500 * time.Millisecond {
		t.Run(wait.String(), func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.limit(imports, 10, 0)
				a := s.node("a", busy)
				s.node("b", busy)
				time.Sleep(wait)
				a.crash()
				time.Sleep(DefaultTTL + time.Second)
				s.checkUsed(imports, 10, time.Second)
			})
		})
	}
}

func TestLimitChangesWhileJobsRun(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 50, 0)
		for i := range 3 {
			s.node("n"+strconv.Itoa(i), busy)
		}
		time.Sleep(3 * time.Second)
		for _, limit := range []int{5, 50, 1, 7, 50} {
			s.limit(imports, limit, 0)
			time.Sleep(time.Second)
			s.checkUsed(imports, limit, time.Second)
			s.checkFair(imports, limit)
		}
	})
}

// A limit that comes while more run than it allows lets those end, and no other start.
func TestLimitComesLate(t *testing.T) {
	inScene(t, func(s *scene) {
		n := s.node("a", busy)
		s.node("b", busy)
		time.Sleep(time.Second)
		if got := s.measure(imports, time.Second); got < 38 {
			s.t.Fatalf("%.1f run without a limit, want 40", got)
		}
		s.limit(imports, 3, 0)
		time.Sleep(time.Second)
		s.checkUsed(imports, 3, time.Second)
		s.limit(imports, 0, 0)
		time.Sleep(time.Second)
		if got := s.measure(imports, time.Second); got < 38 {
			s.t.Errorf("%.1f run after the limit was removed, want 40", got)
		}
		if g := s.held(imports); len(g) != 0 {
			s.t.Errorf("grants of a limit that is gone: %v", g)
		}
		if len(n.limiters) != 1 {
			s.t.Errorf("limiters %v, want the one of the type", n.limiters)
		}
	})
}

func TestFrozenNode(t *testing.T) {
	for _, frozen := range []time.Duration{5 * time.Second, 9 * time.Second, 30 * time.Second} {
		t.Run(frozen.String(), func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.limit(imports, 10, 0)
				a := s.node("a", busy)
				s.node("b", busy)
				time.Sleep(3 * time.Second)
				a.freeze()
				time.Sleep(frozen)
				a.thaw()
				time.Sleep(DefaultTTL + time.Second)
				s.checkUsed(imports, 10, time.Second)
				s.checkFair(imports, 10)
			})
		})
	}
}

// A node that cannot reach the broker gives up in time, and is back soon after it can.
func TestBrokerAway(t *testing.T) {
	for _, away := range []time.Duration{2 * time.Second, 8 * time.Second, time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.limit(imports, 10, 0)
				s.node("a", busy)
				s.node("b", busy)
				time.Sleep(3 * time.Second)
				s.server.Stop()
				time.Sleep(away)
				running := s.measure(imports, 100*time.Millisecond)
				if away < 4*time.Second && running < wellUsed*10 {
					s.t.Errorf("%.1f run while the grants last, want 10", running)
				}
				if away > DefaultTTL && running > 0 {
					s.t.Errorf("%.1f run though no grant can last so long", running)
				}
				s.server.Start(s.t)
				time.Sleep(DefaultTTL + 2*time.Second)
				s.checkUsed(imports, 10, time.Second)
				s.checkFair(imports, 10)
			})
		})
	}
}

// The bucket is lost: the limit comes back by those who knew it, and no job too many starts.
func TestBucketLost(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 10, 0)
		s.limit(mails, 5, time.Second)
		if err := s.store.SetKey(s.ctx, "import", "crm"); err != nil {
			s.t.Fatal(err)
		}
		s.node("a", busy)
		s.node("b", busy)
		time.Sleep(3 * time.Second)
		for range 2 {
			if err := s.client.JetStream().DeleteStream(s.ctx, "KV_"+s.store.bucket.Name()); err != nil {
				s.t.Fatal(err)
			}
			time.Sleep(DefaultTTL + 5*time.Second)
			s.checkUsed(imports, 10, time.Second)
			s.checkFair(imports, 10)
			usages, err := s.store.Usages(s.ctx)
			if err != nil || len(usages) != 2 || usages[0].Limit != (Limit{Jobs: 5, Per: time.Second}) {
				s.t.Errorf("usages %+v, %v", usages, err)
			}
		}
	})
}

// In a steady state a node sends one read and one write for a limit and refresh, and its
// presence.
func TestSteadyStateIsCheap(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 10, 0)
		var nodes []*node
		cfg := busy
		cfg.look = 20 * time.Millisecond
		for i := range 4 {
			nodes = append(nodes, s.node("n"+strconv.Itoa(i), cfg))
		}
		watched := 10 * time.Minute
		if testing.Short() {
			watched = 2 * time.Minute
		}
		time.Sleep(time.Minute)
		for _, n := range nodes {
			n.mu.Lock()
			clear(n.sent)
			n.mu.Unlock()
		}
		time.Sleep(watched)
		refreshes := int(watched / (DefaultTTL/3 - DefaultTTL/30))
		for _, n := range nodes {
			n.mu.Lock()
			sent := n.sent
			n.mu.Unlock()
			if got := sent["$JS.API.DIRECT.GET"] + sent["$KV.millhand-registry.grant"]; got > 2*refreshes+2 {
				s.t.Errorf("%s sent %d messages for its grant in %d refreshes: %v", n.id, got, refreshes, sent)
			}
			if got := sent["$KV.millhand-registry.node"]; got > refreshes+1 {
				s.t.Errorf("%s wrote its presence %d times in %d refreshes", n.id, got, refreshes)
			}
			if got := sent["millhand.control"] + sent["other"]; got > 2 {
				s.t.Errorf("%s sent %d hints and others while nothing changed: %v", n.id, got, sent)
			}
		}
	})
}
