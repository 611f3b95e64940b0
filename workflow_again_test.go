package millhand_test

import (
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A timer that an earlier run of the id has left does not stand in the way of the next one's.
func TestWorkflowWithTimerIsStartedAgain(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		sc.start(t, s)
		begin := func() millhand.Ref {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
			w.Step("a", row{N: 1}, millhand.After(w.Sleep("pause", 50*time.Minute)))
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			return ref
		}
		first := begin()
		time.Sleep(time.Minute)
		if _, err := sc.Cancel(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if state := sc.ended(t, first); state != millhand.Cancelled {
			t.Fatalf("the first is %s", state)
		}
		began := time.Now()
		if state := sc.ended(t, begin()); state != millhand.Succeeded {
			t.Errorf("the second is %s", state)
		}
		if took := time.Since(began).Round(time.Minute); took != 50*time.Minute || sc.ran["w--a"] != 1 {
			t.Errorf("it took %s, and its step ran %d times", took, sc.ran["w--a"])
		}
	})
}

// A step whose id a job of somebody else has fails: it is not held for ever.
func TestStepWhoseIDIsTaken(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		sc.start(t, s)
		if _, err := sc.Enqueue(t.Context(), row{N: 2}, millhand.WithID("w--b"), millhand.WithDelay(24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		b := w.Step("b", row{N: 1}, millhand.After(w.Step("a", row{N: 1})))
		w.Step("c", row{N: 1}, millhand.AfterFailure(b))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if state := sc.ended(t, ref); state != millhand.Dead || sc.ran["w--b"] != 0 || sc.ran["w--c"] != 1 {
			t.Errorf("it is %s, and ran %v", state, sc.ran)
		}
	})
}
