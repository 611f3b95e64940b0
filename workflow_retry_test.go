package millhand_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// heal has a step succeed from now on that failed.
func (sc *workflowScene) heal(name string) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	delete(sc.fails, `"`+name+`"`)
}

// The failed part of a workflow runs again, and only that; what was skipped may wait for a timer that was, too.
func TestWorkflowIsRetried(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s, "b")
		w := millhand.NewWorkflow("order", millhand.WorkflowConfig{ID: "one", Deadline: 10 * time.Minute})
		a := w.Step("a", task("a"))
		b := w.Step("b", task("b"), millhand.After(a))
		day := w.Sleep("pause", 2*time.Minute)
		w.Step("c", task("c"), millhand.After(b, day))
		w.Step("alarm", task("alarm"), millhand.AfterFailure(b))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sc.RetryWorkflow(t.Context(), ref); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("one that goes on is retried: %v", err)
		}
		if info, _ := sc.Await(t.Context(), ref); info.State != millhand.Dead {
			t.Fatalf("ended as %s", info.State)
		}
		if got := sc.states(t, ref); got["pause"] != millhand.StepSkipped || got["c"] != millhand.StepSkipped {
			t.Errorf("%v", got)
		}
		sc.heal("b")
		time.Sleep(9 * time.Minute)
		again, err := sc.RetryWorkflow(t.Context(), ref)
		if err != nil || again.ID != ref.ID || again.Life == ref.Life {
			t.Fatalf("%+v: %v", again, err)
		}
		time.Sleep(time.Second)
		info, err := sc.Await(t.Context(), ref) // the newest
		if err != nil || info.Life != again.Life || info.State != millhand.Succeeded {
			t.Errorf("the retry ended as %+v: %v", info, err)
		}
		want := map[string]millhand.StepState{
			"a": millhand.StepSucceeded, "b": millhand.StepSucceeded, "pause": millhand.StepSucceeded,
			"c": millhand.StepSucceeded, "alarm": millhand.StepSucceeded,
		}
		for name, state := range sc.states(t, ref) {
			if state != want[name] {
				t.Errorf("step %s is %s, want %s", name, state, want[name])
			}
		}
		if got := sc.order(); !slices.Equal(got, []string{`"a"`, `"b"`, `"alarm"`, `"b"`, `"c"`}) {
			t.Errorf("ran %v", got)
		}
		if n, err := sc.CountDead(t.Context(), millhand.DeadFilter{}); err != nil || n != 0 {
			t.Errorf("%d records are left: %v", n, err)
		}
		if _, err := sc.RetryWorkflow(t.Context(), ref); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("one that succeeded is retried: %v", err)
		}
		nc := s.Connect(t)
		for _, life := range []string{ref.Life, again.Life} { // as these are due, a week after the end of each
			if _, err := sc.GetWorkflow(t.Context(), ref); err != nil {
				t.Errorf("before the time of %s: %v", life, err)
			}
			if err := nc.Publish("millhand.default.ready._workflow.one--_clean-"+life, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if _, err := sc.GetWorkflow(t.Context(), ref); !errors.Is(err, millhand.ErrNotFound) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// What was undone runs again with what it was undone for.
func TestUndoneWorkflowIsRetried(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s, "ship")
		w := millhand.NewWorkflow("trip", millhand.WorkflowConfig{ID: "trip"})
		flight := w.Step("flight", task("flight"), millhand.Undo(task("undo flight")))
		hotel := w.Step("hotel", task("hotel"), millhand.After(flight), millhand.Undo(task("undo hotel")))
		w.Step("ship", task("ship"), millhand.After(hotel))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := sc.Await(t.Context(), ref); info.State != millhand.Dead {
			t.Fatalf("ended as %s", info.State)
		}
		sc.heal("ship")
		for d, err := range sc.Dead(t.Context(), millhand.DeadFilter{Type: "_workflow"}) { // as operators requeue what is dead
			if err != nil {
				t.Fatal(err)
			}
			if ref, err = sc.Requeue(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		if info, err := sc.Await(t.Context(), ref); err != nil || info.State != millhand.Succeeded {
			t.Errorf("the retry ended as %+v: %v", info, err)
		}
		want := []string{`"flight"`, `"hotel"`, `"ship"`, `"undo hotel"`, `"undo flight"`, `"flight"`, `"hotel"`, `"ship"`}
		if got := sc.order(); !slices.Equal(got, want) {
			t.Errorf("ran %v", got)
		}
	})
}

// Whoever retries dies after any write. Called again, it is one retry.
func TestWorkflowRetrierDies(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s, "b")
		for n := 0; ; n += strideOf(1) {
			time.Sleep(time.Second) // the one before has ended, and may not have left its queue
			w := millhand.NewWorkflow("order", millhand.WorkflowConfig{ID: "one"})
			a := w.Step("a", task("a"))
			w.Step("b", task("b"), millhand.After(a))
			sc.mu.Lock()
			sc.ran, sc.fails[`"b"`] = nil, true
			sc.mu.Unlock()
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if info, _ := sc.Await(t.Context(), ref); info.State != millhand.Dead {
				t.Fatalf("ended as %s", info.State)
			}
			sc.heal("b")
			link := s.Link()
			nc := link.Connect(t)
			retrier := client(t, nc)
			writes := crashAfter(link, n)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, failed := retrier.RetryWorkflow(ctx, ref)
			cancel()
			nc.Close()
			crashed := writes.Load() > int64(n)
			if failed != nil {
				if _, err := sc.RetryWorkflow(t.Context(), ref); err != nil && !errors.Is(err, millhand.ErrInvalid) {
					t.Errorf("after write %d, again: %v", n, err)
				}
			}
			time.Sleep(time.Minute)
			if info, err := sc.Await(t.Context(), ref); err != nil || !slices.Equal(sc.order(), []string{`"a"`, `"b"`, `"b"`}) {
				t.Errorf("after write %d: %s, ran %v, %v", n, info.State, sc.order(), err)
			}
			if !crashed {
				if n < 2 {
					t.Errorf("only %d writes", n)
				}
				return
			}
		}
	})
}

// A step that fails stops the others at once; what cleans up runs, and the workflow is dead of that failure.
func TestWorkflowFailsFast(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s, "bad")
		w := millhand.NewWorkflow("fast", millhand.WorkflowConfig{FailFast: true})
		long := w.Step("long", task("long"))
		b := w.Step("b", task("b"), millhand.After(long))
		w.Step("clean", task("clean"), millhand.AfterEnd(b))
		w.Sleep("day", 24*time.Hour)
		w.Step("bad", task("bad"), millhand.After(w.Sleep("first", time.Minute)))
		begun := time.Now()
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		info, _ := sc.Await(t.Context(), ref)
		if info.State != millhand.Dead || info.LastError() != "step bad failed" || time.Since(begun) > 2*time.Minute {
			t.Errorf("after %v ended as %s: %s", time.Since(begun), info.State, info.LastError())
		}
		want := map[string]millhand.StepState{
			"long": millhand.StepFailed, "b": millhand.StepSkipped, "clean": millhand.StepSucceeded, "day": millhand.StepSkipped,
			"first": millhand.StepSucceeded, "bad": millhand.StepFailed,
		}
		for name, state := range sc.states(t, ref) {
			if state != want[name] {
				t.Errorf("step %s is %s, want %s", name, state, want[name])
			}
		}
	})
}

// An order to cancel that is carried out late does nothing to a workflow that was started since with the id.
func TestLateCancellationOfAnotherRun(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		begin := func() millhand.Ref {
			w := millhand.NewWorkflow("waits", millhand.WorkflowConfig{ID: "one"})
			w.Step("a", task("a"), millhand.After(w.Signal("go")))
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			return ref
		}
		first := begin()
		if err := sc.Signal(t.Context(), first, "go", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := sc.stop(); err != nil {
			t.Fatal(err)
		}
		// As somebody does who looked before the end, and was held up.
		js := s.Connect(t)
		id := "one--_cancel-" + first.Life
		if err := js.Publish("millhand.default.ready._workflow."+id, nil); err != nil {
			t.Fatal(err)
		}
		second := begin()
		_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
		time.Sleep(time.Minute)
		if info, err := sc.GetWorkflow(t.Context(), second); err != nil || info.Phase != "running" {
			t.Errorf("the second is %s: %v", info.Phase, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
