package millhand_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// signalled is a workflow that waits for a signal in a queue of its own, and that fails without it unless it is mended.
func signalled(t *testing.T, sc *workflowScene) millhand.Ref {
	t.Helper()
	w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
	approved := w.Signal("approved", millhand.Enqueue(millhand.WithQueue("people")))
	w.Step("b", task("b"), millhand.After(w.Step("a", task("a")), approved))
	ref, err := sc.Start(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (sc *workflowScene) awaited(t *testing.T, ref millhand.Ref) millhand.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	info, err := sc.Await(ctx, ref)
	if _, failed := errors.AsType[*millhand.FailedError](err); err != nil && !failed && !errors.Is(err, millhand.ErrCancelled) {
		t.Fatal(err)
	}
	return info.State
}

// A signal that an older generation, or an earlier run of the id, has left in the queue does not swallow one that is
// sent to the newer one.
func TestSignalIsNotSwallowedByAnOlderOne(t *testing.T) {
	for name, again := range map[string]func(t *testing.T, sc *workflowScene, ref millhand.Ref) millhand.Ref{
		"generation": func(t *testing.T, sc *workflowScene, ref millhand.Ref) millhand.Ref {
			t.Helper()
			ref, err := sc.RetryWorkflow(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			return ref
		},
		"run": func(t *testing.T, sc *workflowScene, _ millhand.Ref) millhand.Ref {
			t.Helper()
			return signalled(t, sc)
		},
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				sc := idleWorkflowScene(t, s, "a")
				ref := signalled(t, sc)
				if err := sc.Signal(t.Context(), ref, "approved", nil); err != nil {
					t.Fatal(err)
				}
				start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
				if state := sc.awaited(t, ref); state != millhand.Dead {
					t.Fatalf("the first is %s", state)
				}
				sc.mu.Lock()
				clear(sc.fails)
				sc.mu.Unlock()
				ref = again(t, sc, ref)
				time.Sleep(time.Minute)
				for range 2 {
					if err := sc.Signal(t.Context(), ref, "approved", nil); err != nil {
						t.Fatal(err)
					}
				}
				start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, Queues: []millhand.Queue{{Name: "people"}}})
				if state := sc.awaited(t, ref); state != millhand.Succeeded {
					t.Errorf("the second is %s", state)
				}
			})
		})
	}
}

// A signal that is sent before a worker has begun a retry is one for that.
func TestSignalOfARetryThatHasNotBegun(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s, "a")
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, Queues: []millhand.Queue{{Name: "people"}}})
		ref := signalled(t, sc)
		if state := sc.awaited(t, ref); state != millhand.Dead {
			t.Fatalf("it is %s", state)
		}
		if err := sc.Signal(t.Context(), ref, "approved", nil); !errors.Is(err, millhand.ErrFinished) {
			t.Errorf("signalled after its end: %v", err)
		}
		if err := sc.stop(); err != nil {
			t.Fatal(err)
		}
		clear(sc.fails)
		ref, err := sc.RetryWorkflow(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := sc.Signal(t.Context(), ref, "approved", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
		if state := sc.awaited(t, ref); state != millhand.Succeeded {
			t.Errorf("it is %s", state)
		}
	})
}
