package supervisor

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func playStartStop(t *testing.T, c testCase) {
	expect := decode[struct{ Start, Stop []caseEvent }](t, c.Expect)
	w := newWorld(t)
	_, r := w.run(decode[setup](t, c.Setup))
	w.expectEvents(expect.Start)
	if err := r.end(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	w.expectEvents(expect.Stop)
}

// playParentExit cancels the parent's context with a cause of its own: an ordered stop, whatever
// the cause.
func playParentExit(t *testing.T, c testCase) {
	expect := decode[struct{ Events []caseEvent }](t, c.Expect)
	w := newWorld(t)
	_, r := w.run(decode[setup](t, c.Setup))
	w.take()
	r.stop(errBoom)
	<-r.done
	w.expectEvents(expect.Events)
	if r.err != nil {
		t.Errorf("Run = %v, want nil", r.err)
	}
}

// playStopTimeout stops a supervisor and measures. A goroutine cannot be killed: a child that takes
// too long is abandoned, reported, and not waited for.
func playStopTimeout(t *testing.T, c testCase) {
	expect := decode[struct {
		Cleaned []string `json:"cleanup_completed"`
		Between [2]int   `json:"total_ms_between"`
		Below   int      `json:"total_ms_below"`
		AtLeast int      `json:"total_ms_at_least"`
	}](t, c.Expect)
	w := newWorld(t)
	sup, r := w.run(decode[setup](t, c.Setup))
	begin := time.Now()
	err := r.end()
	total := int(time.Since(begin).Milliseconds())
	if diff := cmp.Diff(expect.Cleaned, w.cleanedSoFar()); diff != "" {
		t.Errorf("cleaned up (-want +got):\n%s", diff)
	}
	switch {
	case expect.Between[1] > 0 && (total < expect.Between[0] || total > expect.Between[1]):
		t.Errorf("total = %d ms, want it in %v", total, expect.Between)
	case expect.Below > 0 && total >= expect.Below:
		t.Errorf("total = %d ms, want less than %d", total, expect.Below)
	case total < expect.AtLeast:
		t.Errorf("total = %d ms, want at least %d", total, expect.AtLeast)
	}
	left := len(decode[setup](t, c.Setup).Children) - len(expect.Cleaned)
	if got := sup.Tree().Abandoned; got != left {
		t.Errorf("abandoned = %d, want %d", got, left)
	}
	abandoned := expect.Between[1] > 0
	if got := errors.Is(err, ErrStopTimeout); got != abandoned {
		t.Errorf("Run = %v, want it to be %v: %t", err, ErrStopTimeout, abandoned)
	}
	time.Sleep(time.Minute) // for what was left behind
	if got := sup.Tree().Abandoned; got != 0 {
		t.Errorf("abandoned = %d in the end, want 0", got)
	}
}

// playNoTrap: there is no process flag that one can forget. A child's clean-up runs whenever it is
// stopped.
func playNoTrap(t *testing.T, c testCase) {
	w := newWorld(t)
	_, r := w.run(decode[setup](t, c.Setup))
	w.take()
	if err := r.end(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	w.expectEvents([]caseEvent{event("terminated", "a", "shutdown")})
}

func playDynamicStop(t *testing.T, c testCase) {
	expect := decode[struct {
		Between [2]int `json:"total_ms_between"`
		Cleaned []any
	}](t, c.Expect)
	w := newWorld(t)
	d, err := NewDynamic(DynamicSpec{Name: "dynamic"})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, d)
	for _, s := range decode[setup](t, c.Setup).Children {
		if err := d.Start(w.child(s)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	begin := time.Now()
	if err := r.end(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	total := int(time.Since(begin).Milliseconds())
	if total < expect.Between[0] || total > expect.Between[1] {
		t.Errorf("total = %d ms, want it in %v", total, expect.Between)
	}
	if got := len(w.cleanedSoFar()); got != len(expect.Cleaned) {
		t.Errorf("cleaned up = %d, want %d", got, len(expect.Cleaned))
	}
}
