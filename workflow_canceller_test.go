package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// The worker that carries a cancellation out dies after any write: another one does the rest, once.
func TestWorkflowCancellerDies(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		if _, err := sc.Start(t.Context(), chain("first")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := sc.stop(); err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n += strideOf(1) {
			sc.mu.Lock()
			sc.ran = nil
			sc.mu.Unlock()
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: fmt.Sprint("w", n)})
			day := w.Sleep("day", 24*time.Hour)
			b := w.Step("b", task("b"), millhand.After(day))
			w.Step("clean", task("clean"), millhand.AfterEnd(day, b))
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sc.Cancel(t.Context(), ref); err != nil {
				t.Fatal(err)
			}
			link := s.Link()
			writes := crashAfter(link, n)
			_, stop := start(t, link.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, DrainTimeout: time.Millisecond})
			time.Sleep(5 * time.Second)
			crashed := writes.Load() > int64(n)
			_ = stop() // it cannot say what it has not written
			_, stop = start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			info, err := sc.Await(ctx, ref)
			cancel()
			ran := slices.Compact(sc.order()) // who dies between the run of a step and its event has it run again
			if !errors.Is(err, millhand.ErrCancelled) || !slices.Equal(ran, []string{`"clean"`}) {
				t.Errorf("after write %d: %s, ran %v, %v", n, info.State, sc.order(), err)
			}
			if got := sc.states(t, ref); got["b"] != millhand.StepSkipped || got["clean"] != millhand.StepSucceeded {
				t.Errorf("after write %d: %v", n, got)
			}
			if err := stop(); err != nil {
				t.Errorf("after write %d: %v", n, err)
			}
			if !crashed {
				if n < 7 {
					t.Errorf("only %d writes", n)
				}
				return
			}
		}
	})
}
