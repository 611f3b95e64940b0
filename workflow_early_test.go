package millhand_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// An early step runs at the first failure, while the group goes on; one that is not runs when all have ended. So does
// one that is added once the failure is known.
func TestEarlyStep(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		began := time.Now()
		ran := make(map[string]time.Duration)
		note := func(name string) {
			sc.mu.Lock()
			defer sc.mu.Unlock()
			ran[name] = time.Since(began)
		}
		millhand.Handle(sc.mux, func(_ context.Context, j *millhand.Job[numbered]) error {
			if j.Args.N == 0 {
				time.Sleep(time.Minute)
				return millhand.Permanent(errors.New("no"))
			}
			time.Sleep(6 * time.Minute)
			return nil
		})
		sc.mux.HandleFunc("note", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			note(string(j.Args.Payload))
			return nil, nil
		})
		sc.mux.HandleFunc("add", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			time.Sleep(3 * time.Minute)
			return nil, millhand.Grow(ctx, j, func(w *millhand.Workflow, self *millhand.Step) {
				w.Step("added", millhand.Raw{Name: "note", Payload: []byte(`"added"`)}, millhand.After(self), millhand.AfterFailure(w.Find("load")), millhand.Early())
			})
		})
		if err := sc.stop(); err != nil {
			t.Fatal(err)
		}
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true})
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		load := w.Group("load", numbers(3))
		w.Step("early", millhand.Raw{Name: "note", Payload: []byte(`"early"`)}, millhand.Early(), millhand.AfterFailure(load))
		w.Step("late", millhand.Raw{Name: "note", Payload: []byte(`"late"`)}, millhand.AfterFailure(load))
		w.Step("add", millhand.Raw{Name: "add"})
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if info, err := sc.Await(ctx, ref); info.State != millhand.Dead {
			t.Fatalf("it is %s: %v", info.State, err)
		}
		for name, want := range map[string]time.Duration{`"early"`: time.Minute, `"added"`: 3 * time.Minute, `"late"`: 6 * time.Minute} {
			if got := ran[name]; (got - want).Abs() > 10*time.Second {
				t.Errorf("%s ran after %v, want %v", name, got, want)
			}
		}
	})
}

// Of a group that tolerates failures an early step is told when it fails, and of one that succeeds never.
func TestEarlyStepOfATolerantGroup(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		sc.start(t, s)
		for tolerated, want := range []millhand.StepState{millhand.StepSucceeded, millhand.StepSucceeded, millhand.StepSkipped} {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{})
			load := w.Group("load", rows(6, func(r *row) { r.Fail = r.N < 2 }), millhand.Tolerate(tolerated))
			w.Step("early", row{}, millhand.AfterFailure(load), millhand.Early())
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			sc.ended(t, ref)
			if got := sc.step(t, ref, "early").State; got != want {
				t.Errorf("of %d that are tolerated: it is %s, want %s", tolerated, got, want)
			}
		}
	})
}

func TestEarlyIsRefused(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{})
		w.Step("b", row{}, millhand.Early(), millhand.AfterEnd(w.Step("a", row{})))
		if _, err := c.Start(t.Context(), w); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("%v", err)
		}
	})
}
