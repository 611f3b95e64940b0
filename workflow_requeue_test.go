package millhand_test

import (
	"context"
	"errors"
	"slices"
	"strings"
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

// deadOf returns the dead jobs whose ids begin with a text.
func deadOf(t *testing.T, c *millhand.Client, prefix string) (found []millhand.DeadJob) {
	t.Helper()
	for d, err := range c.Dead(t.Context(), millhand.DeadFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(d.ID, prefix) {
			found = append(found, d)
		}
	}
	return found
}

// Of all that is dead other jobs run again, workflows are retried, and their steps are refused.
func TestDeadWorkflowsAreRequeuedWithOthers(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s, "bad", "other")
		w := millhand.NewWorkflow("fails", millhand.WorkflowConfig{ID: "w"})
		inner := millhand.NewWorkflow("inner", millhand.WorkflowConfig{})
		inner.Step("bad", task("bad"))
		w.Workflow("sub", inner)
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sc.Enqueue(t.Context(), task("other"), millhand.WithID("other")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		died := deadOf(t, sc.Client, "w")
		sc.heal("bad")
		sc.heal("other")
		became := make(map[string]string)
		var again millhand.Ref
		for of, err := range sc.RequeueDead(t.Context(), millhand.DeadFilter{}, millhand.RequeueConfig{Spread: time.Second}) {
			switch {
			case err == nil:
				became[of.ID] = "goes on"
			case !errors.Is(err, millhand.ErrInvalid):
				t.Error(err)
			case strings.Contains(err.Error(), "retry the workflow"):
				became[of.ID] = "is a step"
			case strings.Contains(err.Error(), "is a step of workflow w: retry that"):
				became[of.ID] = "is a workflow in one"
			}
			if of.ID == "w" {
				again = of
			}
		}
		if len(became) != 4 || became["w"] != "goes on" || became["other"] != "goes on" {
			t.Fatalf("%v", became)
		}
		for id, what := range became {
			switch {
			case !strings.HasPrefix(id, "w-") || what == "is a step" && strings.Contains(id, "--"):
			case what != "is a workflow in one" && what != "goes on": // as it does once the outer one was retried, which several at once may be
				t.Errorf("%s %s", id, what)
			}
		}
		if info, err := sc.Await(t.Context(), again); err != nil || again.Life == ref.Life {
			t.Errorf("the workflow, once life %s, is %s in life %s: %v", ref.Life, info.State, again.Life, err)
		}
		time.Sleep(time.Minute)
		if left := deadOf(t, sc.Client, ""); len(left) > 0 {
			t.Errorf("dead are %v", left)
		}
		i := slices.IndexFunc(died, func(d millhand.DeadJob) bool { return d.ID == "w" })
		if ref, err := sc.Requeue(t.Context(), died[i]); err != nil || ref != again {
			t.Errorf("requeued again: %+v, want %+v: %v", ref, again, err)
		}
	})
}

// A step that runs alone is of no workflow any more, which stays as it is.
func TestDeadStepRunsAlone(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		alone := make(map[string]error)
		healed := false
		millhand.Handle(sc.mux, func(ctx context.Context, j *millhand.Job[numbered]) error {
			if !healed {
				return millhand.Permanent(errors.New("no"))
			}
			_, alone[j.ID] = millhand.StepResult[int](ctx, j, "load")
			return nil
		})
		sc.start(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Group("load", numbers(1))
		w.Step("one", numbered{})
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if state := sc.ended(t, ref); state != millhand.Dead {
			t.Fatalf("it is %s", state)
		}
		time.Sleep(time.Minute)
		healed = true
		for _, d := range deadOf(t, sc.Client, "w--") {
			first, err := sc.Requeue(t.Context(), d, millhand.Alone())
			second, err2 := sc.Requeue(t.Context(), d, millhand.Alone())
			if err != nil || err2 != nil || first != second {
				t.Errorf("%s: %+v, %v; and then %+v, %v", d.ID, first, err, second, err2)
			}
			if info, err := sc.Await(t.Context(), first); err != nil {
				t.Errorf("%s is %s: %v", d.ID, info.State, err)
			}
		}
		for _, id := range []string{"w--load--0", "w--one"} {
			if !errors.Is(alone[id], millhand.ErrInvalid) {
				t.Errorf("%s is of a workflow: %v", id, alone[id])
			}
		}
		for _, d := range deadOf(t, sc.Client, "w") {
			if _, err := sc.Requeue(t.Context(), d, millhand.Alone()); d.ID != "w" || !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("%s runs alone: %v", d.ID, err)
			}
		}
		if info, err := sc.Get(t.Context(), ref); err != nil || info.State != millhand.Dead {
			t.Errorf("the workflow is %s: %v", info.State, err)
		}
		if _, err := sc.Enqueue(t.Context(), numbered{}, millhand.Alone()); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("a new job is alone: %v", err)
		}
		if state := sc.retry(t, ref); state != millhand.Succeeded {
			t.Errorf("the retry is %s", state)
		}
	})
}

// A retry ends the steps' jobs that run alone, and runs the steps.
func TestRetryEndsWhatRunsAlone(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		var alone []millhand.Ref
		healed := false
		millhand.Handle(sc.mux, func(ctx context.Context, j *millhand.Job[numbered]) error {
			_, err := millhand.StepResult[int](ctx, j, "load")
			switch isAlone := errors.Is(err, millhand.ErrInvalid); {
			case isAlone:
				<-ctx.Done()
				return context.Cause(ctx)
			case !healed:
				return millhand.Permanent(errors.New("no"))
			}
			return nil
		})
		sc.start(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Group("load", numbers(2))
		w.Step("one", numbered{})
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		sc.ended(t, ref)
		time.Sleep(time.Minute)
		for of, err := range sc.RequeueDead(t.Context(), millhand.DeadFilter{Type: "numbered"}, millhand.RequeueConfig{Alone: true}) {
			if err != nil {
				t.Fatal(err)
			}
			alone = append(alone, of)
		}
		healed = true
		if state := sc.retry(t, ref); state != millhand.Succeeded || len(alone) != 3 {
			t.Errorf("the retry is %s, alone were %v", state, alone)
		}
		time.Sleep(time.Minute)
		for _, of := range alone {
			if info, err := sc.Get(t.Context(), of); err != nil || info.State != millhand.Cancelled {
				t.Errorf("%s is %s: %v", of.ID, info.State, err)
			}
		}
		sc.left(t)
	})
}
