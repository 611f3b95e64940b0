package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// handleGrow has jobs of type grow add three parts, and what comes after all of them.
func (sc *workflowScene) handleGrow() {
	sc.mux.HandleFunc("grow", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		name := string(j.Args.Payload)
		return nil, millhand.Grow(ctx, j, func(w *millhand.Workflow, self *millhand.Step) {
			var parts []*millhand.Step
			for i := range 3 {
				parts = append(parts, w.Step(fmt.Sprint("part", i), task(fmt.Sprint(name, " part ", i)), millhand.After(self)))
			}
			w.Step("sum", task(name+" sum"), millhand.After(parts...), millhand.After(w.Find("first")), millhand.Undo(task(name+" undo sum")))
		})
	})
}

func growing(id string) *millhand.Workflow {
	w := millhand.NewWorkflow("grows", millhand.WorkflowConfig{ID: id})
	first := w.Step("first", task(id+" first"))
	w.Step("split", millhand.Raw{Name: "grow", Payload: []byte(`"` + id + `"`)}, millhand.After(first))
	return w
}

// Steps that a step has added run when it has succeeded, and the workflow ends after them, whoever dies after any
// write.
func TestWorkflowGrows(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		if err := sc.stop(); err != nil {
			t.Fatal(err)
		}
		sc.handleGrow()
		for n := 0; ; n += strideOf(1) {
			id := fmt.Sprint("w", n)
			ref, err := sc.Start(t.Context(), growing(id))
			if err != nil {
				t.Fatal(err)
			}
			link := s.Link()
			writes := crashAfter(link, n)
			_, stop := start(t, link.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, DrainTimeout: time.Millisecond})
			time.Sleep(time.Second)
			crashed := writes.Load() > int64(n)
			_ = stop() // it cannot say what it has not written
			_, stop = start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			info, err := sc.Await(ctx, ref)
			cancel()
			if err != nil {
				t.Errorf("after write %d: %s, %v", n, info.State, err)
			}
			states := sc.states(t, ref)
			for name, want := range map[string]millhand.StepState{
				"part0": millhand.StepSucceeded, "part2": millhand.StepSucceeded, "sum": millhand.StepSucceeded, "undo-sum": millhand.StepSkipped,
			} {
				if states[name] != want || len(states) != 7 {
					t.Errorf("after write %d: step %s of %d is %s, want %s", n, name, len(states), states[name], want)
				}
			}
			if err := stop(); err != nil {
				t.Errorf("after write %d: %v", n, err)
			}
			if !crashed {
				if n < 15 {
					t.Errorf("only %d writes", n)
				}
				break
			}
		}
		ran := sc.order()
		at := func(name string) int {
			return slices.IndexFunc(ran, func(s string) bool { return strings.Contains(s, name) })
		}
		for _, part := range []string{"part 0", "part 1", "part 2"} {
			if a, b := at("w0"+`" `+part), at(`w0" sum`); a > b {
				t.Errorf("%s ran after the sum: %v", part, ran)
			}
		}
	})
}

// What a step may not add is refused, and the workflow stays as it was.
func TestWorkflowGrowsByRules(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		if err := sc.stop(); err != nil {
			t.Fatal(err)
		}
		grown := make(chan error, 6)
		sc.mux.HandleFunc("grow", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			for _, add := range []func(w *millhand.Workflow, self *millhand.Step){
				func(w *millhand.Workflow, _ *millhand.Step) { w.Step("free", task("free")) },
				func(w *millhand.Workflow, self *millhand.Step) { w.Step("split", task("x"), millhand.After(self)) },
				func(w *millhand.Workflow, self *millhand.Step) { w.Step("a--b", task("x"), millhand.After(self)) },
				func(w *millhand.Workflow, _ *millhand.Step) {
					w.Step("c", task("x"), millhand.After(w.Find("nothing")))
				},
				func(w *millhand.Workflow, self *millhand.Step) {
					w.Step("first", task("x"), millhand.After(self))
					w.Step("d", task("x"), millhand.After(self))
				},
			} {
				grown <- millhand.Grow(ctx, j, add)
			}
			return nil, nil
		})
		alone := make(chan error, 1)
		sc.mux.HandleFunc("alone", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			alone <- millhand.Grow(ctx, j, func(*millhand.Workflow, *millhand.Step) {})
			return nil, nil
		})
		_, _ = start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
		ref, err := sc.Start(t.Context(), growing("w"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sc.Await(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		close(grown)
		i := 0
		for err := range grown {
			if !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("addition %d: %v", i, err)
			}
			i++
		}
		if states := sc.states(t, ref); len(states) != 2 {
			t.Errorf("there are %v", states)
		}
		if _, err := sc.Enqueue(t.Context(), millhand.Raw{Name: "alone"}); err != nil {
			t.Fatal(err)
		}
		if err := <-alone; !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("a job of no workflow: %v", err)
		}
	})
}

// A step of a workflow that a step has added adds one itself, and so on: all of them together are no deeper than others.
func TestWorkflowGrowsDeep(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		var levels int
		var refused error
		sc.mux.HandleFunc("deeper", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			levels++
			refused = millhand.Grow(ctx, j, func(w *millhand.Workflow, self *millhand.Step) {
				inner := millhand.NewWorkflow("inner", millhand.WorkflowConfig{})
				inner.Step("go", millhand.Raw{Name: "deeper"})
				w.Workflow("sub", inner, millhand.After(self))
			})
			if refused != nil {
				return nil, millhand.Permanent(refused)
			}
			return nil, nil
		})
		if err := sc.stop(); err != nil {
			t.Fatal(err)
		}
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
		w := millhand.NewWorkflow("outer", millhand.WorkflowConfig{})
		w.Step("go", millhand.Raw{Name: "deeper"})
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if info, err := sc.Await(ctx, ref); info.State != millhand.Dead {
			t.Fatalf("it is %s: %v", info.State, err)
		}
		if levels != 16 || !errors.Is(refused, millhand.ErrInvalid) || !strings.Contains(refused.Error(), "at most 16 levels") {
			t.Errorf("%d levels, and then %v", levels, refused)
		}
	})
}
