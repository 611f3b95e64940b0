package millhand_test

import (
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// Whoever cancels the job of a workflow with others, as commands and dashboards do, cancels the workflow.
func TestWorkflowIsCancelledAsAJob(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		w := millhand.NewWorkflow("long", millhand.WorkflowConfig{ID: "one"})
		long := w.Step("long", task("long"))
		w.Step("b", task("b"), millhand.After(long))
		w.Step("clean", task("clean"), millhand.AfterEnd(long))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		found := false
		for done, err := range sc.CancelMany(t.Context(), millhand.JobFilter{Type: "_workflow"}) {
			if err != nil {
				t.Fatal(err)
			}
			found = found || done.ID == "one"
		}
		if !found {
			t.Error("the workflow was not cancelled")
		}
		if info, err := sc.Await(t.Context(), ref); !errors.Is(err, millhand.ErrCancelled) {
			t.Errorf("ended as %s: %v", info.State, err)
		}
		time.Sleep(15 * time.Second)
		want := map[string]millhand.StepState{"long": millhand.StepFailed, "b": millhand.StepSkipped, "clean": millhand.StepSucceeded}
		for name, state := range sc.states(t, ref) {
			if state != want[name] {
				t.Errorf("step %s is %s, want %s", name, state, want[name])
			}
		}
	})
}
