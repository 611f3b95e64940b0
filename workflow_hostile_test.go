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

// An id is started again after all that was known of its first run is forgotten: the ref of that finds nothing, and
// neither ends nor signals nor retries the second.
func TestWorkflowIsStartedAfterItsEndWasForgotten(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		begin := func() millhand.Ref {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w", Keep: time.Hour})
			w.Step("a", task("a"), millhand.After(w.Signal("go")))
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			return ref
		}
		first := begin()
		if _, err := sc.Cancel(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if state := sc.awaited(t, first); state != millhand.Cancelled {
			t.Fatalf("the first is %s", state)
		}
		if err := sc.stop(); err != nil { // hours with a worker take long
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
		time.Sleep(time.Minute)
		second := begin()
		if err := sc.Signal(t.Context(), first, "go", nil); !errors.Is(err, millhand.ErrNotFound) {
			t.Errorf("signal of the first: %v", err)
		}
		if _, err := sc.RetryWorkflow(t.Context(), first); !errors.Is(err, millhand.ErrNotFound) {
			t.Errorf("retry of the first: %v", err)
		}
		if _, err := sc.Cancel(t.Context(), first); err == nil {
			t.Error("the first is cancelled again")
		}
		time.Sleep(time.Minute)
		if phase := phaseOf(t, sc, second); phase != "running" {
			t.Errorf("the second is %s", phase)
		}
		if err := sc.Signal(t.Context(), second, "go", nil); err != nil {
			t.Fatal(err)
		}
		if state := sc.awaited(t, second); state != millhand.Succeeded {
			t.Errorf("the second is %s", state)
		}
	})
}

func phaseOf(t *testing.T, sc *workflowScene, ref millhand.Ref) string {
	t.Helper()
	w, err := sc.GetWorkflow(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return w.Phase
}

// A retry while steps still run is refused, also of one that stops at a failure and waits for what does not.
func TestRetryWhileAStepRuns(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s, "bad")
		var runs atomic.Int64
		sc.mux.HandleFunc("stubborn", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			runs.Add(1)
			time.Sleep(5 * time.Second) // it does not heed its context, and is within its grace
			return nil, nil
		})
		if err := sc.stop(); err != nil {
			t.Fatal(err)
		}
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w", FailFast: true})
		w.Step("slow", millhand.Raw{Name: "stubborn"})
		w.Step("bad", task("bad"))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if _, err := sc.RetryWorkflow(t.Context(), ref); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("retried while a step runs: %v", err)
		}
		if state := sc.awaited(t, ref); state != millhand.Dead {
			t.Fatalf("it is %s", state)
		}
		sc.mu.Lock()
		clear(sc.fails)
		sc.mu.Unlock()
		retried, err := sc.RetryWorkflow(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := sc.RetryWorkflow(t.Context(), ref); err == nil && again != retried {
			t.Errorf("retried twice: as %v and %v", retried, again)
		}
		if state := sc.awaited(t, retried); state != millhand.Succeeded || runs.Load() != 1 {
			t.Errorf("retried it is %s, and the step that was slow ran %d times", state, runs.Load())
		}
	})
}

// A cancellation that comes with the end of the last step: the workflow has one end, whichever was first.
func TestCancelWithTheLastStep(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		ends := watchEnds(t, sc.Client)
		sc.mux.HandleFunc("short", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			d, err := time.ParseDuration(strings.Trim(string(j.Args.Payload), `"`))
			time.Sleep(d)
			return nil, err
		})
		if err := sc.stop(); err != nil {
			t.Fatal(err)
		}
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
		states := make(map[millhand.State]int)
		for i := range 12 {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{})
			last := w.Step("last", millhand.Raw{Name: "short", Payload: []byte(`"` + (time.Second + time.Duration(i-6)*200*time.Microsecond).String() + `"`)}, millhand.Undo(task("undo")))
			w.Step("clean", task("clean"), millhand.AfterEnd(last))
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if _, err := sc.Cancel(t.Context(), ref); err != nil && !errors.Is(err, millhand.ErrFinished) {
				t.Fatal(err)
			}
			states[sc.awaited(t, ref)]++
			time.Sleep(20 * time.Second)
			if got := ends.ofLife(ref); len(got) != 1 {
				t.Errorf("it has ended as %v", got)
			}
			if faults, err := sc.CheckWorkflow(t.Context(), ref); err != nil || len(faults) > 0 {
				t.Errorf("faults %v: %v", faults, err)
			}
		}
		t.Log(states)
		if twice := ends.twice(); len(twice) > 0 {
			t.Errorf("these have not ended once: %v", twice)
		}
	})
}

// Payloads of a group at the limit are stored, run and read again; one byte more is refused with the limit.
func TestGroupItemsAtTheLimit(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		group := func(size int) *millhand.Workflow {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{})
			payload := []byte(`"` + strings.Repeat("x", size-2) + `"`)
			w.Group("g", func(yield func(millhand.Args) bool) {
				for range 2 {
					if !yield(millhand.Raw{Name: "task", Payload: payload}) {
						return
					}
				}
			})
			return w
		}
		ref, err := sc.Start(t.Context(), group(512<<10))
		if err != nil {
			t.Fatal(err)
		}
		if state := sc.awaited(t, ref); state != millhand.Succeeded || len(sc.order()) != 2 {
			t.Errorf("it is %s, and ran %d jobs", state, len(sc.order()))
		}
		if _, err := sc.Start(t.Context(), group(512<<10+1)); !errors.Is(err, millhand.ErrInvalid) || !strings.Contains(err.Error(), "524288") {
			t.Errorf("one byte more: %v", err)
		}
	})
}

// Names that would be other subjects, or those of the workflow's own jobs, are refused.
func TestWorkflowNamesThatAreRefused(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		for _, name := range []string{"a.b", "a.*", ">", "a b", "_fill", "a--b", "a-", "-a", "", "ä", "a/b", strings.Repeat("a", 61)} {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: name})
			w.Step("a", task("a"))
			if _, err := c.Start(t.Context(), w); name != "" && !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("id %q: %v", name, err)
			}
			w = millhand.NewWorkflow("", millhand.WorkflowConfig{})
			w.Step(name, task("a"))
			if _, err := c.Start(t.Context(), w); !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("step %q: %v", name, err)
			}
		}
		for j, err := range c.Jobs(t.Context(), millhand.JobFilter{}) {
			if j.Type == "task" && !strings.Contains(j.ID, "--a") || err != nil {
				t.Errorf("left: %s, %v", j.ID, err)
			}
		}
	})
}
