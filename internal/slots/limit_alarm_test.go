package slots

import (
	"testing"
	"testing/synctest"
	"time"
)

// A rate whose permits were lost has nothing to plan once its starts are old: the alarm that
// looks after them does not ring again and again.
func TestLostRateIsQuiet(t *testing.T) {
	for _, how := range []string{"lost", "expired"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newScene(t, 4)
				i := g.source("q", "t")
				p := g.limit(Key{Kind: OfType, Name: "t", Rate: true})
				p.starts.period = time.Second
				p.Allow(2, time.Now().Add(2*time.Second))
				g.open(i)
				h := g.deliver(i, 1, 10)[0]
				if err := h.Start(); err != nil {
					t.Fatal(err)
				}
				h.startedAt = time.Now()
				time.Sleep(10 * time.Millisecond)
				if how == "lost" {
					p.Lose()
				}
				h.Finished()
				for range 100 { // an alarm that rings all the time would let no time pass here
					time.Sleep(50 * time.Millisecond)
					g.mu.Lock()
					_, due := g.demand.plan(time.Now)
					g.mu.Unlock()
					if !due.IsZero() && !due.After(time.Now()) {
						t.Fatalf("a plan is due since %v, and again at once after each", time.Since(due))
					}
				}
			})
		})
	}
}
