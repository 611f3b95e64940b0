package millhand_test

import (
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// What is known of a workflow, and of one that is a step of it, is kept for as long as it says.
func TestWorkflowIsKeptAsLongAsItSays(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		inner := millhand.NewWorkflow("", millhand.WorkflowConfig{})
		inner.Step("b", task("b"))
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w", Keep: 2 * time.Hour})
		w.Workflow("a", inner)
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if state := sc.awaited(t, ref); state != millhand.Succeeded {
			t.Fatalf("it is %s", state)
		}
		info, err := sc.GetWorkflow(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := sc.stop(); err != nil { // hours with a worker take long
			t.Fatal(err)
		}
		time.Sleep(110 * time.Minute)
		if _, err := sc.FindWorkflow(t.Context(), "w"); err != nil {
			t.Errorf("before its time: %v", err)
		}
		for range 2 { // the inner one is kept as long again if its turn comes while the outer one is there
			time.Sleep(3 * time.Hour)
			_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
			time.Sleep(time.Minute)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []string{"w", info.Steps[0].ID} {
			if _, err := sc.FindWorkflow(t.Context(), id); !errors.Is(err, millhand.ErrNotFound) {
				t.Errorf("%s after it: %v", id, err)
			}
		}
	})
}

func TestWorkflowKeepIsChecked(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		for _, keep := range []time.Duration{-time.Hour, time.Millisecond, time.Minute, 20 * 365 * 24 * time.Hour} {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{Keep: keep})
			w.Step("a", task("a"))
			if _, err := c.Start(t.Context(), w); !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("kept for %v: %v", keep, err)
			}
		}
		inner := millhand.NewWorkflow("", millhand.WorkflowConfig{Keep: time.Hour})
		inner.Step("a", task("a"))
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{})
		w.Workflow("inner", inner)
		if _, err := c.Start(t.Context(), w); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("one that is a step: %v", err)
		}
	})
}
