package millhand_test

import (
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A workflow has counted the end of a dead step: to run it again alone would change nothing, and it would be gone
// from the dead.
func TestDeadStepsAreNotRequeued(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s, "bad")
		w := millhand.NewWorkflow("fails", millhand.WorkflowConfig{ID: "one"})
		w.Step("bad", task("bad"))
		if _, err := sc.Start(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		for range 2 {
			dead := 0
			for d, err := range sc.Dead(t.Context(), millhand.DeadFilter{}) {
				if err != nil {
					t.Fatal(err)
				}
				dead++
				if d.Type == "_workflow" {
					continue // it is retried as a whole
				}
				if _, err := sc.Requeue(t.Context(), d); !errors.Is(err, millhand.ErrInvalid) {
					t.Errorf("%s is requeued: %v", d.ID, err)
				}
			}
			if dead != 2 {
				t.Errorf("%d dead, want the step and the workflow", dead)
			}
			time.Sleep(5 * time.Second)
		}
	})
}
