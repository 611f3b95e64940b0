package workflow

import (
	"slices"
	"testing"
)

// A workflow that stops at the first failure keeps what cleans up and undoes, and is dead of that failure.
func TestFailFast(t *testing.T) {
	g := graph(t,
		step("a"), step("b"), step("c", after(AllSucceeded, 0)), step("clean", after(AllEnded, 2)), Step{Name: "go", Kind: KindSignal},
		undo("undo-a", 0))
	g.FailFast = true
	next, _ := g.End(tally("......"), 1, Failed)
	if got := letters(&next); got != ".fk.k." || g.Phase(&next) != PhaseCancelling || !slices.Equal(g.Stops(&next), []int{0}) {
		t.Errorf("%s, %s, stops %v", got, g.Phase(&next), g.Stops(&next))
	}
	again, err := DecodeTally(next.Encode())
	if err != nil || again.Stopped == nil || *again.Stopped != 1 {
		t.Errorf("%+v: %v", again, err)
	}
	next, _ = g.End(&next, 0, Failed) // since its job was cancelled
	next, _ = g.End(&next, 3, Succeeded)
	if o, ended := g.Outcome(&next); !ended || o != (Outcome{State: PhaseDead, Step: "b"}) {
		t.Errorf("%s ended as %+v", letters(&next), o)
	}
	if next, ok := g.Retry(&next); !ok || letters(&next) != "...s.." || next.Stopped != nil {
		t.Errorf("retried: %s, %v", letters(&next), next.Stopped)
	}
	next, _ = g.End(tally(".s...."), 0, Succeeded)
	if next.Stopped != nil {
		t.Error("a success stops the others")
	}
	g.Steps[1].Optional = true
	if next, _ := g.End(tally("......"), 1, Failed); next.Stopped != nil {
		t.Error("the failure of an optional step stops the others")
	}
}

// The failure that stops the others opens what is behind none of it: a signal that nobody is to send any more has
// ended, too.
func TestFailFastOpensWhatIsBehindOthers(t *testing.T) {
	g := graph(t,
		step("bad"), Step{Name: "go", Kind: KindSignal}, step("b", after(AllSucceeded, 1)),
		step("clean", after(AllEnded, 1)), step("tidy", after(AllEnded, 2)))
	g.FailFast = true
	next, _ := g.End(tally("....."), 0, Failed)
	if got := g.Opens(&next, 0); !slices.Equal(got, []int{3, 4}) {
		t.Errorf("opens %v of %s", got, letters(&next))
	}
}
