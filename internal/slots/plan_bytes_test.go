package slots

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A plan never asks for more bytes than the budget leaves, but for a job that is alone; and
// however large jobs are, some are asked for.
func TestBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newModel(t, rapid.IntRange(1, 40).Draw(t, "concurrency"), rapid.SliceOfN(rapid.IntRange(1, 9), 1, 12).Draw(t, "weights")...)
		w.budget = budget{flight: rapid.IntRange(1, 1000).Draw(t, "flight"), hand: rapid.IntRange(0, 2000).Draw(t, "hand")}
		size := rapid.IntRange(1, 1500).Draw(t, "size")
		for _, s := range w.sources {
			s.size = size
		}
		w.update()
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if asked := w.with(func(s *Source) bool { return w.left[s] > 0 }); len(asked) > 0 && rapid.Bool().Draw(t, "deliver") {
				s := rapid.SampledFrom(asked).Draw(t, "source")
				n := rapid.IntRange(1, w.left[s]).Draw(t, "n")
				w.weigh(s, n*size, size)
				w.deliver(s, n, rapid.Uint64Range(0, 1000).Draw(t, "backlog"))
			} else if running := w.with(func(s *Source) bool { return w.running[s] > 0 }); len(running) > 0 {
				w.bytes -= size
				w.finish(rapid.SampledFrom(running).Draw(t, "source"), time.Duration(rapid.IntRange(1, 1e9).Draw(t, "ran")))
			}
			asked := w.asked()
			if asked > 1 && asked*size > w.budget.flight {
				t.Fatalf("%d jobs of %d bytes are asked for, the budget is %d", asked, size, w.budget.flight)
			}
			if inHand := w.bytes/size + asked; w.budget.hand > 0 && inHand > 1 && inHand*size > w.budget.hand {
				t.Fatalf("%d jobs of %d bytes are in hand or asked for, the budget is %d", inHand, size, w.budget.hand)
			}
			if asked == 0 && w.inHand == 0 {
				t.Fatal("nothing is asked for though nothing is in hand")
			}
		}
	})
}
