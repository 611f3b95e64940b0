package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A workflowScene is a client and a worker that notes the order in which steps run.
type workflowScene struct {
	*millhand.Client
	mu    sync.Mutex
	ran   []string
	fails map[string]bool // steps, by the payload
	mux   *millhand.Mux
	stop  func() error
}

func task(name string) millhand.Raw {
	return millhand.Raw{Name: "task", Payload: fmt.Appendf(nil, "%q", name)}
}

func newWorkflowScene(t *testing.T, s *natstest.Server, fails ...string) *workflowScene {
	t.Helper()
	sc := idleWorkflowScene(t, s, fails...)
	_, sc.stop = start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
	return sc
}

// idleWorkflowScene is one without a worker.
func idleWorkflowScene(t *testing.T, s *natstest.Server, fails ...string) *workflowScene {
	t.Helper()
	sc := &workflowScene{Client: client(t, s.Connect(t)), fails: make(map[string]bool)}
	for _, name := range fails {
		sc.fails[fmt.Sprintf("%q", name)] = true
	}
	mux := millhand.NewMux()
	mux.HandleFunc("task", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		sc.mu.Lock()
		sc.ran = append(sc.ran, string(j.Args.Payload))
		sc.mu.Unlock()
		switch {
		case string(j.Args.Payload) == `"long"`:
			<-ctx.Done()
			return nil, context.Cause(ctx)
		case sc.fails[string(j.Args.Payload)]:
			return nil, millhand.Permanent(errors.New("no"))
		}
		return nil, nil
	})
	sc.mux = mux
	return sc
}

func (sc *workflowScene) order() []string {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return slices.Clone(sc.ran)
}

// states returns those of the steps by name.
func (sc *workflowScene) states(t *testing.T, ref millhand.Ref) map[string]millhand.StepState {
	t.Helper()
	info, err := sc.GetWorkflow(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	states := make(map[string]millhand.StepState)
	for _, s := range info.Steps {
		states[s.Name] = s.State
	}
	return states
}

func TestWorkflowRunsInOrder(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		w := millhand.NewWorkflow("import", millhand.WorkflowConfig{ID: "import-1"})
		a := w.Step("a", task("a"))
		b := w.Step("b", task("b"), millhand.After(a))
		c := w.Step("c", task("c"), millhand.After(a))
		w.Step("d", task("d"), millhand.After(b, c))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		info, err := sc.Await(t.Context(), ref)
		if err != nil || info.State != millhand.Succeeded {
			t.Fatalf("ended as %s: %v", info.State, err)
		}
		got := sc.order()
		if len(got) != 4 || got[0] != `"a"` || got[3] != `"d"` {
			t.Errorf("ran in the order %v", got)
		}
		for name, state := range sc.states(t, ref) {
			if state != millhand.StepSucceeded {
				t.Errorf("step %s is %s", name, state)
			}
		}
		if _, err := sc.Start(t.Context(), w); err != nil {
			t.Errorf("started again: %v", err)
		}
	})
}

func TestWorkflowFails(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s, "b")
		w := millhand.NewWorkflow("order", millhand.WorkflowConfig{})
		a := w.Step("a", task("a"), millhand.Undo(task("undo a")))
		b := w.Step("b", task("b"), millhand.After(a))
		c := w.Step("c", task("c"), millhand.After(b), millhand.Undo(task("undo c")))
		w.Step("alarm", task("alarm"), millhand.AfterFailure(b, c))
		w.Step("clean", task("clean"), millhand.AfterEnd(c))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		info, err := sc.Await(t.Context(), ref)
		if _, failed := errors.AsType[*millhand.FailedError](err); !failed || info.State != millhand.Dead || info.Reason != millhand.ReasonStep {
			t.Fatalf("ended as %s, %s: %v", info.State, info.Reason, err)
		}
		want := map[string]millhand.StepState{
			"a": millhand.StepSucceeded, "b": millhand.StepFailed, "c": millhand.StepSkipped, "alarm": millhand.StepSucceeded,
			"clean": millhand.StepSucceeded, "undo-a": millhand.StepSucceeded, "undo-c": millhand.StepSkipped,
		}
		for name, state := range sc.states(t, ref) {
			if state != want[name] {
				t.Errorf("step %s is %s, want %s", name, state, want[name])
			}
		}
		if got := sc.order(); got[len(got)-1] != `"undo a"` {
			t.Errorf("ran in the order %v", got)
		}
	})
}

func TestWorkflowWaitsForSignalOrTimer(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		start := func(id string) millhand.Ref {
			w := millhand.NewWorkflow("approval", millhand.WorkflowConfig{ID: id})
			a := w.Step("a", task("a"))
			approved := w.Signal("approved")
			expired := w.Sleep("expired", 3*time.Minute)
			w.Step("b", task("b"), millhand.After(a), millhand.AfterAny(approved, expired))
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			return ref
		}
		begun := time.Now()
		one, two := start("one"), start("two")
		time.Sleep(time.Minute)
		info, err := sc.GetWorkflow(t.Context(), one)
		if err != nil || info.Phase != "running" || info.Steps[3].State != millhand.StepHeld || !slices.Equal(info.Steps[3].Waits, []string{"one of approved, expired"}) {
			t.Errorf("%+v: %v", info, err)
		}
		if err := sc.Signal(t.Context(), one, "approved", map[string]string{"by": "oncall"}); err != nil {
			t.Fatal(err)
		}
		if err := sc.Signal(t.Context(), one, "expired", nil); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("a timer was signalled: %v", err)
		}
		if _, err := sc.Await(t.Context(), one); err != nil || time.Since(begun) > 2*time.Minute {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if got := sc.states(t, one); got["expired"] != millhand.StepSkipped {
			t.Errorf("%v", got)
		}
		if _, err := sc.Await(t.Context(), two); err != nil || time.Since(begun) < 3*time.Minute {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if got := sc.states(t, two); got["approved"] != millhand.StepSkipped {
			t.Errorf("%v", got)
		}
	})
}

func TestWorkflowIsCancelled(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		start := func(id string, deadline time.Duration) millhand.Ref {
			w := millhand.NewWorkflow("long", millhand.WorkflowConfig{ID: id, Deadline: deadline})
			a := w.Step("a", task("a"), millhand.Undo(task("undo")))
			long := w.Step("long", task("long"), millhand.After(a))
			b := w.Step("b", task("b"), millhand.After(long))
			w.Step("clean", task("clean"), millhand.AfterEnd(long, b))
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			return ref
		}
		one, two := start("one", 0), start("two", 2*time.Minute)
		time.Sleep(time.Minute)
		if _, err := sc.Cancel(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		for ref, reason := range map[millhand.Ref]millhand.Reason{one: millhand.ReasonRequested, two: millhand.ReasonDeadline} {
			info, err := sc.Await(t.Context(), ref)
			if !errors.Is(err, millhand.ErrCancelled) || info.State != millhand.Cancelled || info.Reason != reason {
				t.Errorf("ended as %s, %s: %v", info.State, info.Reason, err)
			}
			want := map[string]millhand.StepState{
				"a": millhand.StepSucceeded, "long": millhand.StepFailed, "b": millhand.StepSkipped,
				"clean": millhand.StepSucceeded, "undo-a": millhand.StepSucceeded,
			}
			for name, state := range sc.states(t, ref) {
				if state != want[name] {
					t.Errorf("step %s is %s, want %s", name, state, want[name])
				}
			}
		}
	})
}

// The jobs by which workflows drive themselves are of their queue: while it is paused, no worker asks for them.
func TestWorkflowsOfPausedQueue(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Sleep("nap", time.Minute)
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if err := sc.Pause(t.Context(), ref.Queue); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if state := sc.states(t, ref)["nap"]; state == millhand.StepSucceeded {
			t.Errorf("while the queue is paused, the timer is %s", state)
		}
		if err := sc.Resume(t.Context(), ref.Queue); err != nil {
			t.Fatal(err)
		}
		if _, err := sc.Await(t.Context(), ref); err != nil {
			t.Error(err)
		}
	})
}

// A step whose job a worker has in hand runs, since a time; one that waits for a worker is ready.
func TestRunningSteps(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Step("runs", task("long"))
		w.Step("waits", millhand.Raw{Name: "nobody"})
		began := time.Now()
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		info, err := sc.GetWorkflow(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		runs, waits := info.Steps[0], info.Steps[1]
		if runs.State != millhand.StepRunning || runs.Worker == "" || runs.Since.Sub(began).Abs() > 5*time.Second {
			t.Errorf("what runs is %+v", runs)
		}
		if waits.State != millhand.StepReady || waits.Worker != "" || !waits.Since.IsZero() {
			t.Errorf("what waits is %+v", waits)
		}
		if _, err := sc.Cancel(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if _, err := sc.Await(t.Context(), ref); !errors.Is(err, millhand.ErrCancelled) {
			t.Error(err)
		}
	})
}

// Nothing is signalled of a workflow that has ended.
func TestSignalOfAnEndedWorkflow(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Signal("go")
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if err := sc.Signal(t.Context(), ref, "go", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := sc.Await(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		err = sc.Signal(t.Context(), ref, "go", nil)
		if finished, ok := errors.AsType[*millhand.FinishedError](err); !ok || finished.State != millhand.Succeeded || finished.Ref != ref {
			t.Errorf("%v", err)
		}
	})
}

// A workflow is found by its id, in whatever queue it is.
func TestFindWorkflow(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w", Queue: "other"})
		w.Signal("go")
		ref, err := c.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.FindWorkflow(t.Context(), "w"); got != ref || err != nil {
			t.Errorf("found %+v, want %+v: %v", got, ref, err)
		}
		for _, id := range []string{"v", "w--go", "no.id", "", "*", ">"} {
			if got, err := c.FindWorkflow(t.Context(), id); !errors.Is(err, millhand.ErrNotFound) {
				t.Errorf("found %+v by %q: %v", got, id, err)
			}
		}
	})
}
