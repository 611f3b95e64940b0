package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

func nested(id string, deadline time.Duration) *millhand.Workflow {
	inner := millhand.NewWorkflow("inner", millhand.WorkflowConfig{})
	x := inner.Step("x", task("x"), millhand.Undo(task("undo x")))
	inner.Step("y", task("y"), millhand.After(x))
	w := millhand.NewWorkflow("outer", millhand.WorkflowConfig{ID: id, Deadline: deadline})
	a := w.Step("a", task("a"), millhand.Undo(task("undo a")))
	sub := w.Workflow("sub", inner, millhand.After(a))
	w.Step("b", task("b"), millhand.After(sub))
	return w
}

// A workflow that is a step runs when it may, and what comes after it when it has ended; when it fails it is undone
// before what comes before it, and a retry of the whole retries its failed part.
func TestWorkflowInWorkflow(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s, "y")
		ref, err := sc.Start(t.Context(), nested("outer", 0))
		if err != nil {
			t.Fatal(err)
		}
		info, _ := sc.Await(t.Context(), ref)
		if want := []string{`"a"`, `"x"`, `"y"`, `"undo x"`, `"undo a"`}; info.State != millhand.Dead || !slices.Equal(sc.order(), want) {
			t.Fatalf("ended as %s, ran %v", info.State, sc.order())
		}
		w, err := sc.GetWorkflow(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		child, err := sc.GetWorkflow(t.Context(), w.Steps[1].Ref)
		if err != nil || child.Name != "inner" || child.Phase != "dead" || !strings.HasPrefix(child.ID, "outer-sub-") {
			t.Errorf("the inner one is %+v: %v", child, err)
		}
		if _, err := sc.RetryWorkflow(t.Context(), child.Ref); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("the inner one is retried alone: %v", err)
		}
		sc.heal("y")
		if ref, err = sc.RetryWorkflow(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		info, err = sc.Await(t.Context(), ref)
		if want := []string{`"a"`, `"x"`, `"y"`, `"b"`}; err != nil || !slices.Equal(sc.order()[5:], want) {
			t.Errorf("the retry ended as %s, ran %v: %v", info.State, sc.order()[5:], err)
		}
		if n, err := sc.CountDead(t.Context(), millhand.DeadFilter{}); err != nil || n != 0 {
			t.Errorf("%d records are left: %v", n, err)
		}
	})
}

// To cancel a workflow is to cancel those in it, and to wait for them.
func TestWorkflowInWorkflowIsCancelled(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		inner := millhand.NewWorkflow("inner", millhand.WorkflowConfig{})
		long := inner.Step("long", task("long"))
		inner.Step("clean", task("clean"), millhand.AfterEnd(long))
		w := millhand.NewWorkflow("outer", millhand.WorkflowConfig{ID: "outer"})
		sub := w.Workflow("sub", inner)
		w.Step("b", task("b"), millhand.After(sub))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		if got := sc.states(t, ref); got["sub"] != millhand.StepRunning || got["b"] != millhand.StepHeld {
			t.Errorf("%v", got)
		}
		if _, err := sc.Cancel(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if info, err := sc.Await(t.Context(), ref); !errors.Is(err, millhand.ErrCancelled) {
			t.Errorf("ended as %s: %v", info.State, err)
		}
		if got := sc.order(); !slices.Equal(got, []string{`"long"`, `"clean"`}) {
			t.Errorf("ran %v", got)
		}
		if got := sc.states(t, ref); got["sub"] != millhand.StepFailed || got["b"] != millhand.StepSkipped {
			t.Errorf("%v", got)
		}
	})
}

// A worker dies after any write: the inner one begins once and ends once, and so does the outer one.
func TestWorkflowInWorkflowWhoseWorkerDies(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		if _, err := sc.Start(t.Context(), nested("first", 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := sc.stop(); err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n += 2 {
			before := len(sc.order())
			ref, err := sc.Start(t.Context(), nested(fmt.Sprint("w", n), 0))
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
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			info, err := sc.Await(ctx, ref)
			cancel()
			if ran := len(sc.order()) - before; err != nil || ran < 4 || ran > 5 {
				t.Errorf("after write %d: %s, steps ran %d times, %v", n, info.State, ran, err)
			}
			if err := stop(); err != nil {
				t.Errorf("after write %d: %v", n, err)
			}
			if !crashed {
				if n < 16 {
					t.Errorf("only %d writes", n)
				}
				return
			}
		}
	})
}

// A workflow with a group is a step of a step. It is undone, and begins anew in a retry, with all jobs of the group; so does one that
// succeeded although its group failed.
func TestGroupInWorkflowInWorkflow(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		var healed atomic.Bool
		millhand.Handle(sc.mux, func(context.Context, *millhand.Job[receipt]) error {
			if healed.Load() {
				return nil
			}
			return millhand.Permanent(errors.New("no"))
		})
		sc.start(t, s)
		inner := millhand.NewWorkflow("inner", millhand.WorkflowConfig{})
		bad := inner.Group("bad", rows(3, func(r *row) { r.Fail = r.N == 2 }), millhand.Optional())
		load := inner.Group("load", rows(5, nil), millhand.KeepResults())
		inner.Step("report", summary{}, millhand.After(load), millhand.AfterEnd(bad))
		middle := millhand.NewWorkflow("middle", millhand.WorkflowConfig{})
		middle.Workflow("inner", inner)
		w := millhand.NewWorkflow("outer", millhand.WorkflowConfig{ID: "outer"})
		sub := w.Workflow("middle", middle, millhand.Undo(row{}))
		w.Step("last", receipt{}, millhand.After(sub))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if state := sc.ended(t, ref); state != millhand.Dead || sc.sum != 0+1+2+3+4 {
			t.Fatalf("it is %s, and the sum %d", state, sc.sum)
		}
		healed.Store(true)
		if state := sc.retry(t, ref); state != millhand.Succeeded || sc.sum != 0+1+2+3+4 {
			t.Errorf("the retry is %s, and the sum %d", state, sc.sum)
		}
		if len(sc.ran) != 3+5+1 {
			t.Errorf("ran: %v", sc.ran)
		}
		for id, n := range sc.ran {
			if want := 2; n != want && id != "outer--undo-middle" {
				t.Errorf("%s ran %d times, want %d", id, n, want)
			}
		}
		sc.left(t)
	})
}

// To cancel a workflow is to cancel a group in one that is a step, also if it has just begun.
func TestGroupInWorkflowInWorkflowIsCancelled(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		sc.start(t, s)
		for i, wait := range []time.Duration{0, time.Minute} {
			inner := millhand.NewWorkflow("inner", millhand.WorkflowConfig{})
			inner.Group("load", rows(100, func(r *row) { r.Hang = true }))
			w := millhand.NewWorkflow("outer", millhand.WorkflowConfig{ID: fmt.Sprint("w", i)})
			w.Workflow("sub", inner)
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(wait)
			if _, err := sc.Cancel(t.Context(), ref); err != nil {
				t.Fatal(err)
			}
			if state := sc.ended(t, ref); state != millhand.Cancelled {
				t.Errorf("after %v: it is %s", wait, state)
			}
			time.Sleep(time.Minute)
			sc.left(t)
		}
	})
}

// A step adds a workflow with a group, and a step of a workflow that is one adds a group.
func TestGroupInWorkflowThatIsGrown(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		millhand.Handle(sc.mux, func(ctx context.Context, j *millhand.Job[receipt]) error {
			return millhand.Grow(ctx, j, func(w *millhand.Workflow, self *millhand.Step) {
				load := w.Group("load", rows(4, nil), millhand.After(self), millhand.KeepResults())
				w.Step("report", summary{}, millhand.After(load))
			})
		})
		millhand.Handle(sc.mux, func(ctx context.Context, j *millhand.Job[charge]) error {
			return millhand.Grow(ctx, j, func(w *millhand.Workflow, self *millhand.Step) {
				inner := millhand.NewWorkflow("inner", millhand.WorkflowConfig{})
				first := inner.Group("first", rows(2, nil))
				inner.Step("look", receipt{}, millhand.After(first))
				w.Workflow("sub", inner, millhand.After(self))
			})
		})
		sc.start(t, s)
		w := millhand.NewWorkflow("outer", millhand.WorkflowConfig{ID: "outer"})
		w.Step("begin", charge{})
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if state := sc.ended(t, ref); state != millhand.Succeeded || sc.sum != 0+1+2+3 || len(sc.ran) != 6 {
			t.Errorf("it is %s, the sum %d, ran %v", state, sc.sum, sc.ran)
		}
	})
}

// What cannot be a step is refused.
func TestWorkflowInWorkflowIsRefused(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		for name, child := range map[string]func(w *millhand.Workflow) *millhand.Workflow{
			"nothing": func(*millhand.Workflow) *millhand.Workflow { return nil },
			"itself":  func(w *millhand.Workflow) *millhand.Workflow { return w },
			"with an id": func(*millhand.Workflow) *millhand.Workflow {
				inner := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "mine"})
				inner.Step("x", task("x"))
				return inner
			},
			"without steps": func(*millhand.Workflow) *millhand.Workflow {
				return millhand.NewWorkflow("", millhand.WorkflowConfig{})
			},
			"too deep": func(*millhand.Workflow) *millhand.Workflow {
				inner := millhand.NewWorkflow("", millhand.WorkflowConfig{})
				inner.Step("x", task("x"))
				for range 16 {
					outer := millhand.NewWorkflow("", millhand.WorkflowConfig{})
					outer.Workflow("in", inner)
					inner = outer
				}
				return inner
			},
		} {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{})
			w.Workflow("sub", child(w))
			if _, err := c.Start(t.Context(), w); !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
