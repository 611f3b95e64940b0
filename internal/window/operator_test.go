package window

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// restored is an operator that knows what another did, from an encoded state.
func restored(t rapid.TB, c Config, merge bool, from *recorder) *recorder {
	t.Helper()
	data, err := json.Marshal(from.State())
	if err != nil {
		t.Fatal(err)
	}
	var st State[int, int, []int]
	if err := json.Unmarshal(data, &st); err != nil {
		t.Fatal(err)
	}
	r := record(c, merge)
	if err := r.Restore(st); err != nil {
		t.Fatal(err)
	}
	r.out = from.out
	return r
}

// lines are what was emitted, for tables: start-end trigger events.
func (r *recorder) lines() string {
	var all []string
	for _, e := range r.out {
		all = append(all, fmt.Sprintf("%d-%d %v %v", e.Pane.Start, e.Pane.End, e.Pane.Trigger, e.Events))
	}
	r.out = nil
	return strings.Join(all, ", ")
}

func TestSources(t *testing.T) {
	s := NewSources(2, 10)
	steps := []struct {
		what string
		do   func()
		low  int64
	}{
		{"the other source has nothing yet", func() { s.Observe(0, 100) }, Unset},
		{"the least of both, less the delay", func() { s.Observe(1, 50) }, 40},
		{"the other one holds it", func() { s.Observe(0, 200) }, 40},
		{"an older event changes nothing", func() { s.Observe(1, 45) }, 40},
		{"who is silent holds nothing", func() { s.Silence(1) }, 190},
		{"it does not go back", func() { s.Observe(1, 60) }, 190},
		{"one is silent, the other may have more", func() { s.Silence(0) }, 190},
		{"all are silent: the greatest", func() { s.Silence(1) }, 200},
		{"one of them is back", func() { s.Observe(0, 250) }, 240},
		{"the other one is still silent", func() { s.Observe(0, 260) }, 250},
		{"nor does who has ended", func() { s.End(1); s.Observe(0, 270) }, 260},
		{"the end is not silence", func() { s.End(0) }, 260},
	}
	for _, step := range steps {
		step.do()
		if s.Low() != step.low {
			t.Errorf("%s: the watermark is %d, want %d", step.what, s.Low(), step.low)
		}
	}
}

func TestDelayAndLate(t *testing.T) {
	o := record(Config{Kind: Fixed, Size: 10, Delay: 5, Late: 10}, false)
	steps := []struct {
		what string
		e    event
		ok   bool
		want string
	}{
		{"first", event{At: 3, N: 1}, true, ""},
		{"beyond the window, within the delay", event{At: 14, N: 2}, true, ""},
		{"so an earlier one is not late", event{At: 9, N: 3}, true, ""},
		{"the watermark passes", event{At: 15, N: 4}, true, "0-10 watermark [1 3]"},
		{"late, and taken", event{At: 8, N: 5}, true, ""},
		{"the lateness has passed too", event{At: 25, N: 6}, true, "10-20 watermark [2 4], 0-10 done [1 3 5]"},
		{"too late", event{At: 8, N: 7}, false, ""},
		{"an own window that is closed", event{Key: 1, At: 2, N: 8}, false, ""},
		{"an own window that has passed", event{Key: 1, At: 12, N: 9}, true, ""},
	}
	for _, step := range steps {
		if ok := o.event(step.e); ok != step.ok {
			t.Errorf("%s: taken %t, want %t", step.what, ok, step.ok)
		}
		if got := o.lines(); got != step.want {
			t.Errorf("%s: emitted %s, want %s", step.what, got, step.want)
		}
	}
	o.Revise()
	if got, want := o.lines(), "10-20 watermark [9]"; got != want {
		t.Errorf("revised %s, want %s", got, want)
	}
	o.End()
	if got, want := o.lines(), "10-20 done [2 4], 10-20 done [9], 20-30 done [6]"; got != want {
		t.Errorf("at the end %s, want %s", got, want)
	}
	if o.Dropped() != 2 {
		t.Errorf("%d dropped, want 2", o.Dropped())
	}
}

func TestSourcesHoldWindowsOpen(t *testing.T) {
	open := func() *recorder {
		o := record(Config{Kind: Fixed, Size: 10, Sources: 2}, false)
		o.event(event{At: 1, N: 1})
		o.event(event{At: 25, N: 2})
		return o
	}
	for what, c := range map[string]struct {
		do   func(*recorder)
		want string
	}{
		"one has nothing yet":           {func(*recorder) {}, ""},
		"it comes by":                   {func(o *recorder) { o.Observe(1, 12) }, "0-10 done [1]"},
		"somebody else says so":         {func(o *recorder) { o.Advance(12, 25) }, "0-10 done [1]"},
		"it is silent":                  {func(o *recorder) { o.Silence(1) }, "0-10 done [1]"},
		"it has ended":                  {func(o *recorder) { o.EndSource(1) }, "0-10 done [1]"},
		"the one that has is silent":    {func(o *recorder) { o.Silence(0) }, ""},
		"both are, and the last stands": {func(o *recorder) { o.Silence(0); o.Silence(1) }, "0-10 done [1]"},
	} {
		o := open()
		if c.do(o); o.out != nil || c.want != "" {
			if got := o.lines(); got != c.want {
				t.Errorf("%s: emitted %s, want %s", what, got, c.want)
			}
		}
	}
}

func TestMarksAndPeriods(t *testing.T) {
	for _, c := range []Config{
		{Kind: Global},
		{Kind: Count, N: 10},
		{Kind: Periodic, Size: 10},
		{Kind: Fixed, Size: 10},
		{Kind: Sliding, Size: 10, Step: 10},
		{Kind: Session, Size: 10},
	} {
		o := record(c, false)
		o.event(event{At: 1, N: 1})
		o.event(event{At: 2, N: 2, Key: 1})
		o.Mark(0, 3)
		o.Mark(2, 3) // nothing of it
		o.event(event{At: 4, N: 3})
		o.Period()
		if c.Kind == Periodic {
			o.Tick()
		}
		o.End()
		var got []string
		for _, e := range o.out {
			got = append(got, fmt.Sprint(e.Key, e.Pane.Trigger, e.Events, e.Pane.Revision, e.Pane.Final))
		}
		want := []string{
			"0 mark [1] 1 false", "0 period [1 3] 2 false", "1 period [2] 1 false",
			"0 done [1 3] 3 true", "1 done [2] 2 true",
		}
		if c.Kind == Session { // in the order of their ends
			want[1], want[2], want[3], want[4] = want[2], want[1], want[4], want[3]
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.Kind, diff)
		}
	}
}

// Windows of processing time are empty if they are to be, and each begins anew (flow-periodic-window).
func TestPeriodicWindows(t *testing.T) {
	for _, empty := range []bool{false, true} {
		o := record(Config{Kind: Periodic, Size: 10, Empty: empty}, false)
		o.event(event{N: 1})
		o.event(event{N: 2})
		o.Tick()
		o.Tick()
		o.event(event{N: 3})
		o.End()
		var got []string
		for _, e := range o.out {
			got = append(got, fmt.Sprint(e.Pane.Number, e.Pane.Trigger, e.Events))
		}
		want := []string{"0 done [1 2]", "1 done []", "2 done [3]"}
		if !empty {
			want = []string{"0 done [1 2]", "2 done [3]"}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("empty %t (-want +got):\n%s", empty, diff)
		}
	}
}

// What Emit leaves in the accumulator is folded into, in each kind of window.
func TestEmitReplacesTheAccumulator(t *testing.T) {
	for _, c := range []Config{{Kind: Global, EveryN: 2}, {Kind: Fixed, Size: 100, EveryN: 2}, {Kind: Count, N: 5, EveryN: 2}} {
		var got []int
		o := NewOperator(c, Funcs[string, int, int]{
			Zero: func(string) int { return 0 },
			Fold: func(a, n int) int { return a + n },
			Emit: func(_ string, a *int, _ Pane) { got = append(got, *a); *a = 0 },
		})
		for n := 1; n <= 5; n++ {
			o.Observe(0, 7)
			o.Add("", n, 7)
		}
		o.End()
		if diff := gocmp.Diff([]int{3, 7, 5}, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.Kind, diff)
		}
	}
}

func TestEmptyWindows(t *testing.T) {
	o := record(Config{Kind: Fixed, Size: 10, Late: 30, Empty: true}, false)
	o.First(25)
	o.event(event{At: 45, N: 1})
	if got, want := o.lines(), "20-30 watermark [], 30-40 watermark []"; got != want {
		t.Errorf("before the first event of this partition: %s, want %s", got, want)
	}
	// One that begins late is not alone: those between it and the first come with it.
	o.event(event{At: 18, N: 2})
	o.event(event{At: 50, N: 3})
	o.End()
	want := "40-50 watermark [1], 10-20 done [2], 20-30 done [], 30-40 done [], 40-50 done [1], 50-60 done [3]"
	if got := o.lines(); got != want {
		t.Errorf("then: %s, want %s", got, want)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []Config{
		{Kind: Session + 1},
		{Kind: Count},
		{Kind: Periodic},
		{Kind: Fixed, Size: -1},
		{Kind: Sliding, Size: 7},
		{Kind: Sliding, Size: 7, Step: 2},
		{Kind: Session},
		{Kind: Fixed, Size: 1, Delay: -1},
		{Kind: Fixed, Size: 1, Late: -1},
		{Kind: Count, N: 1, Late: 1},
		{Delay: 1},
		{EveryN: -1},
		{Kind: Session, Size: 1, Empty: true},
		{Sources: -1},
	} {
		if c.Check() == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	fixed := Config{Kind: Fixed, Size: 10}
	for what, c := range map[string]struct {
		c  Config
		st State[int, int, []int]
	}{
		"no source":            {fixed, State[int, int, []int]{}},
		"unknown presence":     {fixed, State[int, int, []int]{Sources: []SourceState{{Presence: 9}}}},
		"windows out of order": {fixed, State[int, int, []int]{Sources: []SourceState{{}}, Windows: []OpenWindow[int, []int]{{Start: 10}, {Start: 0}}}},
		"no global window":     {Config{}, State[int, int, []int]{Sources: []SourceState{{}}}},
		"sessions":             {fixed, State[int, int, []int]{Sources: []SourceState{{}}, Sessions: []SessionState[int, int, []int]{{}}}},
	} {
		if record(c.c, false).Restore(c.st) == nil {
			t.Errorf("%s: restored", what)
		}
	}
}
