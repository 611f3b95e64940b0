package millhand_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A worker that has lost a step which ends in silence counts nothing any more: its success is what is counted, or how
// the next run ends, and not both.
func TestSilentStepIsCountedByWhoHoldsIt(t *testing.T) {
	silent := millhand.Raw{Name: "quiet", Payload: []byte(`"x"`)}
	for name, build := range map[string]func(w *millhand.Workflow) *millhand.Step{
		"a step": func(w *millhand.Workflow) *millhand.Step { return w.Step("a", silent) },
		"a group": func(w *millhand.Workflow) *millhand.Step {
			return w.Group("a", func(yield func(millhand.Args) bool) { yield(silent) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				sc := idleWorkflowScene(t, s)
				link := s.Link()
				var runs atomic.Int64
				sc.mux.HandleFunc("quiet", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
					if runs.Add(1) == 1 {
						return nil, nil
					}
					link.Release()
					time.Sleep(time.Second) // the first one writes what it was about to
					return nil, millhand.Permanent(errors.New("no"))
				}, millhand.TypeConfig{SilentSuccess: true})
				link.Watch(func(subject string) natstest.Fate {
					if runs.Load() == 1 && strings.HasPrefix(subject, "millhand.workflow.tally.") {
						link.Hold()
					}
					return natstest.Pass
				})
				cfg := millhand.WorkerConfig{Mux: sc.mux, NoStats: true, AckWait: faultLease, DrainTimeout: time.Millisecond}
				w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
				w.Step("b", task("b"), millhand.AfterFailure(build(w)))
				ref, err := sc.Start(t.Context(), w)
				if err != nil {
					t.Fatal(err)
				}
				start(t, link.Connect(t), cfg)
				time.Sleep(2 * time.Second)
				start(t, s.Connect(t), cfg)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				info, err := sc.Await(ctx, ref)
				if info.State != millhand.Dead || runs.Load() != 2 {
					t.Errorf("it is %s after %d runs: %v", info.State, runs.Load(), err)
				}
				if states := sc.states(t, ref); states["a"] != millhand.StepFailed || states["b"] != millhand.StepSucceeded {
					t.Errorf("the steps are %v", states)
				}
			})
		})
	}
}
