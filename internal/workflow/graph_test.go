package workflow

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func graph(t testing.TB, steps ...Step) *Graph {
	t.Helper()
	g, err := NewGraph(valid(steps...))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// tally has the states of steps as letters: . pending, s succeeded, f failed, k skipped; with ! at the end
// it is cancelled.
func tally(states string) *Tally {
	n := len(states)
	cancelled := n > 0 && states[n-1] == '!'
	if cancelled {
		n--
	}
	t := NewTally("w", 1, n)
	for i := range n {
		t.Bits.set(i, map[byte]State{'.': Pending, 's': Succeeded, 'f': Failed, 'k': Skipped}[states[i]])
	}
	t.Cancelled = cancelled
	return &t
}

func letters(t *Tally) string {
	var b strings.Builder
	for i := range t.N {
		b.WriteByte(".sfk"[t.At(i)])
	}
	return b.String()
}

func (g Gate) String() string { return [...]string{"waits", "open", "shut"}[g] }

// The gate of a step after two others, for each way in which they have ended.
func TestGate(t *testing.T) {
	for _, c := range []struct {
		mode  Mode
		gates map[string]Gate
	}{
		{AllSucceeded, map[string]Gate{"..": Waits, "s.": Waits, "ss": Open, "f.": Shut, "sf": Shut, "k.": Shut, "s.!": Shut, "ss!": Open}},
		{AllEnded, map[string]Gate{"..": Waits, "s.": Waits, "ss": Open, "f.": Waits, "sf": Open, "kk": Open, "s.!": Waits, "fk!": Open}},
		{OneFailed, map[string]Gate{"..": Waits, "f.": Waits, "sf": Open, "fk": Open, "ss": Shut, "ks": Shut, "f.!": Waits, "fs!": Open}},
		{AnySucceeded, map[string]Gate{"..": Waits, "s.": Open, "f.": Waits, "fs": Open, "ff": Shut, "fk": Shut, "f.!": Shut, "s.!": Open}},
	} {
		g := graph(t, step("a"), step("b"), step("c", after(c.mode, 0, 1)))
		for states, want := range c.gates {
			of := tally(states)
			of.N, of.Bits = 3, append(of.Bits, 0)[:1]
			if got := g.Gate(of, 2); got != want {
				t.Errorf("after %s of %s: %v, want %v", c.mode, states, got, want)
			}
		}
	}
}

// Each condition has to hold by itself: two choices are two conditions.
func TestConditionsHoldTogether(t *testing.T) {
	g := graph(t, step("a"), step("b"), step("c"), step("d"), step("e", after(AnySucceeded, 0, 1), after(AnySucceeded, 2, 3)))
	for states, want := range map[string]Gate{"s....": Waits, "ss...": Waits, "s..s.": Open, "s.ff.": Shut, "ffs..": Shut} {
		if got := g.Gate(tally(states), 4); got != want {
			t.Errorf("%s: %v, want %v", states, got, want)
		}
	}
}

// What an end skips and opens.
func TestEnd(t *testing.T) {
	sleep := func(name string, conditions ...Condition) Step {
		return Step{Name: name, Kind: KindSleep, SleepMS: 1, After: conditions}
	}
	signal := Step{Name: "signal", Kind: KindSignal}
	choice := []Step{step("report"), signal, sleep("expired"), step("publish", after(AllSucceeded, 0), after(AnySucceeded, 1, 2)), step("clean", after(AllEnded, 0, 3))}
	chain := []Step{step("a"), step("b", after(AllSucceeded, 0)), step("c", after(AllSucceeded, 1)), step("d", after(AllEnded, 2))}
	saga := []Step{
		step("a"), step("b", after(AllSucceeded, 0)), step("c", after(AllSucceeded, 1)), step("d", after(AllSucceeded, 2)),
		undo("undo-a", 0), undo("undo-c", 2),
	}
	for name, c := range map[string]struct {
		steps  []Step
		before string
		step   int
		state  State
		after  string
		opens  []int
	}{
		"next of a chain":       {chain, "....", 0, Succeeded, "s...", []int{1}},
		"what is behind skips":  {chain, "....", 0, Failed, "fkk.", []int{3}},
		"signal before anybody": {choice, ".....", 1, Succeeded, ".s...", nil},
		"the other is needless": {choice, "s....", 1, Succeeded, "ssk..", []int{3}},
		"both are needless":     {choice, ".....", 0, Failed, "fkkk.", []int{4}},
		"a second end":          {chain, "fkk.", 0, Succeeded, "fkk.", []int{3}},
		"undone from the end":   {saga, "sss...", 3, Failed, "sssf..", []int{5}},
		"undone to the front":   {saga, "sssf..", 5, Succeeded, "sssf.s", []int{4}},
		"what failed is not":    {saga, "......", 0, Failed, "fkkkkk", nil},
		"nothing to undo":       {saga, "sss...", 3, Succeeded, "sssskk", nil},
		"cancelled":             {saga, "s.kk..!", 1, Succeeded, "sskk.k", []int{4}},
	} {
		t.Run(name, func(t *testing.T) {
			g := graph(t, c.steps...)
			next, _ := g.End(tally(c.before), c.step, c.state)
			if got := letters(&next); got != c.after {
				t.Errorf("%s becomes %s, want %s", c.before, got, c.after)
			}
			if got := g.Opens(&next, c.step); !slices.Equal(got, c.opens) {
				t.Errorf("opens %v, want %v", got, c.opens)
			}
		})
	}
}

// What is cancelled keeps what has to be cleaned up, and no timer or signal.
func TestCancelWorkflow(t *testing.T) {
	g := graph(t,
		step("a"), step("b", after(AllSucceeded, 0)), step("clean", after(AllEnded, 1)), step("alarm", after(OneFailed, 0)),
		Step{Name: "go", Kind: KindSignal}, undo("undo-a", 0), step("tidy", after(AllEnded, 4)))
	next, ok := g.Cancel(tally("......."), "deadline")
	if got := letters(&next); !ok || got != ".k..k.." || !slices.Equal(g.Open(&next), []int{0, 6, 2}) {
		t.Errorf("cancelled: %s, open %v", got, g.Open(&next))
	}
	if got := g.Stops(&next); !slices.Equal(got, []int{0}) {
		t.Errorf("stops %v", got)
	}
	if _, again := g.Cancel(&next, "requested"); again {
		t.Error("cancelled twice")
	}
	next, _ = g.End(&next, 0, Succeeded)
	next, _ = g.End(&next, 2, Succeeded)
	next, _ = g.End(&next, 6, Succeeded)
	if _, late := g.Cancel(&next, "requested"); late || g.Phase(&next) != PhaseUndoing {
		t.Errorf("%s: cancelled while it is undone", letters(&next))
	}
	next, _ = g.End(&next, 5, Succeeded)
	if o, ended := g.Outcome(&next); !ended || o != (Outcome{State: PhaseCancelled, Reason: "deadline"}) {
		t.Errorf("%s ended as %+v", letters(&next), o)
	}
}

func TestOutcome(t *testing.T) {
	optional := step("c")
	optional.Optional = true
	g := graph(t, step("a"), step("b"), optional, undo("undo-a", 0))
	for states, want := range map[string]Outcome{
		"sssk":  {State: PhaseSucceeded},
		"ssfk":  {State: PhaseSucceeded},
		"sfss":  {State: PhaseDead, Step: "b"},
		"sfsf":  {State: PhaseDead, Step: "undo-a", Undo: true},
		"sfsf!": {State: PhaseDead, Step: "undo-a", Undo: true},
		"skss!": {State: PhaseCancelled},
		"sfs.":  {},
	} {
		if got, ended := g.Outcome(tally(states)); got != want || ended == (want == Outcome{}) {
			t.Errorf("%s: %+v, want %+v", states, got, want)
		}
	}
}

// A retry has again what failed, was skipped or was undone.
func TestRetryWorkflow(t *testing.T) {
	g := graph(t, step("a"), step("b", after(AllSucceeded, 0)), step("c", after(AllSucceeded, 1)), step("x"), undo("undo-a", 0))
	for states, want := range map[string]string{"sfkss": "...s.", "sfksf": "...s.", "fkksk": "...s.", "ssfks": ".s..."} {
		next, ok := g.Retry(tally(states))
		if got := letters(&next); !ok || got != want || next.Gen != 2 {
			t.Errorf("%s: %s in generation %d, want %s", states, got, next.Gen, want)
		}
	}
	for _, states := range []string{"ssssk", "sss.."} {
		if _, ok := g.Retry(tally(states)); ok {
			t.Errorf("%s is retried", states)
		}
	}
}

// A step adds what comes after it, once.
func TestGrow(t *testing.T) {
	s := valid(step("a"), step("b", after(AllSucceeded, 0)))
	add := []Step{step("c", after(AllSucceeded, 0)), step("d", after(AnySucceeded, 1, 2))}
	next, grown, err := s.Grow(0, add)
	if err != nil || !grown || len(next.Steps) != 4 || len(s.Steps) != 2 {
		t.Fatalf("grown %v: %v", grown, err)
	}
	if _, again, err := next.Grow(0, add); again || err != nil {
		t.Errorf("grown again %v: %v", again, err)
	}
	g, err := NewGraph(next)
	if err != nil {
		t.Fatal(err)
	}
	for states, want := range map[string]string{"..": "....", "s.": "s.kk", "f.": "f.kk"} {
		if got := g.Extend(tally(states)); letters(&got) != want {
			t.Errorf("%s is extended to %s, want %s", states, letters(&got), want)
		}
	}
	for _, c := range []struct {
		by   int
		add  []Step
		want string
	}{
		{1, []Step{step("c", after(AllSucceeded, 0))}, `step "c": does not come after b, which adds it`},
		{0, []Step{step("b", after(AllSucceeded, 0)), step("c", after(AllSucceeded, 0))}, `step "b": cannot be added by a, since there is one of this name`},
		{0, []Step{step("c", after(AllSucceeded, 3))}, `step "c": comes after step 3, and there are 3, from 0`},
		{7, []Step{step("c")}, `workflow "w": has no step 7 that could add some`},
	} {
		if _, _, err := s.Grow(c.by, c.add); err == nil || err.Error() != c.want {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}

// What waits for a failure may not wait for the end of what will fail. In all else it is as what does.
func TestEarly(t *testing.T) {
	early := after(OneFailed, 0, 1)
	early.Early = true
	s := valid(step("a"), Step{Name: "g", Kind: KindGroup, Type: "t", Jobs: 9}, step("late", after(OneFailed, 0, 1)), step("early", early))
	g, err := NewGraph(s)
	if err != nil {
		t.Fatal(err)
	}
	all := []State{Pending, Succeeded, Failed, Skipped}
	for _, a := range all {
		for _, b := range all {
			for _, failing := range []bool{false, true} {
				now := NewTally("w", 1, 4)
				now.Bits.set(0, a)
				now.Bits.set(1, b)
				told := false
				if failing {
					now, told = g.Fail(&now, 1)
				}
				want := g.Gate(&now, 2)
				if want == Waits && (a == Failed || b == Failed || told) {
					want = Open
				}
				if got := g.Gate(&now, 3); got != want || told != (failing && b == Pending) {
					t.Errorf("a %s, g %s, failing %v: the gate is %v, want %v", a, b, told, got, want)
				}
			}
		}
	}
	begun := NewTally("w", 1, 4)
	failing, _ := g.Fail(&begun, 1)
	if open := g.Opens(&failing, 1); !slices.Equal(open, []int{3}) {
		t.Errorf("it opens %v", open)
	}
	if _, again := g.Fail(&failing, 1); again {
		t.Error("it fails twice")
	}
	read, err := DecodeTally(failing.Encode())
	if err != nil || !slices.Equal(read.Failing, []int{1}) {
		t.Errorf("read as %+v: %v", read, err)
	}
	if got := g.WaitsFor(&begun, 3); !slices.Equal(got, []string{"a failure of a, g"}) {
		t.Errorf("it waits for %q", got)
	}
}

// drawGraph draws any graph: of steps in any order, with undos between them.
func drawGraph(t *rapid.T) *Graph {
	n := rapid.IntRange(1, 9).Draw(t, "steps")
	inOrder := make([]int, n)
	for i := range inOrder {
		inOrder[i] = i
	}
	place := rapid.Permutation(inOrder).Draw(t, "order")
	steps := make([]Step, n, 2*n)
	for at, i := range place {
		steps[i] = step(fmt.Sprint("s", i))
		steps[i].Optional = rapid.IntRange(0, 4).Draw(t, "optional") == 0
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			steps[i] = Step{Name: steps[i].Name, Kind: KindSignal}
			continue
		case 1:
			steps[i] = Step{Name: steps[i].Name, Kind: KindSleep, SleepMS: 1}
		}
		if at == 0 {
			continue
		}
		for range rapid.IntRange(0, 3).Draw(t, "conditions") {
			mode := rapid.SampledFrom([]Mode{AllSucceeded, AllEnded, OneFailed, AnySucceeded}).Draw(t, "mode")
			steps[i].After = append(steps[i].After, Condition{
				Mode: mode, Of: rapid.SliceOfN(rapid.SampledFrom(place[:at]), 1, 3).Draw(t, "of"), Early: mode == OneFailed && rapid.Bool().Draw(t, "early"),
			})
		}
	}
	for i := range n {
		if !steps[i].waits() && rapid.Bool().Draw(t, "undone") {
			steps = append(steps, undo(UndoName(steps[i].Name), i))
		}
	}
	g, err := NewGraph(valid(steps...))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// However the steps end: an open or shut gate stays so unless the workflow is cancelled, what has ended stays so, one pass skips all that is
// to be skipped, what opens is what the end has opened, and the workflow comes to its end.
func TestGraphProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t)
		n := len(g.Steps)
		now := NewTally("w", 1, n)
		now = g.Close(&now)
		released := make(map[int]bool)
		for _, i := range g.Open(&now) {
			released[i] = true
		}
		for {
			if _, ended := g.Outcome(&now); ended {
				return
			}
			var next Tally
			if rapid.IntRange(0, 9).Draw(t, "cancel") == 0 {
				next, _ = g.Cancel(&now, "requested")
				for _, i := range g.Open(&next) {
					released[i] = true
				}
			} else {
				open := g.Open(&now)
				if len(open) == 0 {
					t.Fatalf("%s: nothing can run, and it has not ended", letters(&now))
				}
				i := rapid.SampledFrom(open).Draw(t, "step")
				if !released[i] {
					t.Fatalf("%s: nobody released step %d", letters(&now), i)
				}
				next, _ = g.End(&now, i, rapid.SampledFrom([]State{Succeeded, Failed}).Draw(t, "state"))
				for _, d := range g.Opens(&next, i) {
					released[d] = true
				}
			}
			checkStep(t, g, &now, &next)
			now = next
		}
	})
}

func checkStep(t *rapid.T, g *Graph, now, next *Tally) {
	for i := range g.Steps {
		was, is := g.Gate(now, i), g.Gate(next, i)
		// What ends after a cancel may still succeed: the gate that shut for want of it is of a step that is skipped.
		if was == Open && is != Open || was == Shut && is == Waits && !now.Cancelled {
			t.Fatalf("%s to %s: the gate of step %d was %v and is %v", letters(now), letters(next), i, was, is)
		}
		if now.At(i) != Pending && now.At(i) != next.At(i) {
			t.Fatalf("%s to %s: step %d had ended", letters(now), letters(next), i)
		}
		if next.At(i) == Pending && is == Shut {
			t.Fatalf("%s: the gate of step %d is shut, and it is not skipped", letters(next), i)
		}
	}
	if again := g.Close(next); letters(&again) != letters(next) {
		t.Fatalf("%s closes to %s", letters(next), letters(&again))
	}
}
