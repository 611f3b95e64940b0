package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

type charge struct{ Cents int }

func (charge) Type() string { return "charge" }

type receipt struct{}

func (receipt) Type() string { return "receipt" }

// resultMux has a step that returns something, and one that reads what others have returned.
func resultMux(read func(context.Context, *millhand.Job[receipt]) (string, error)) *millhand.Mux {
	mux := millhand.NewMux()
	millhand.HandleResult(mux, func(_ context.Context, j *millhand.Job[charge]) (map[string]int, error) {
		if j.Args.Cents < 0 {
			return nil, millhand.Permanent(errors.New("no"))
		}
		return map[string]int{"paid": j.Args.Cents}, nil
	})
	mux.HandleFunc("text", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return []byte("hello"), nil })
	mux.HandleFunc("nothing", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
	millhand.HandleResult(mux, read)
	return mux
}

func TestStepResults(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := resultMux(func(ctx context.Context, j *millhand.Job[receipt]) (string, error) {
			paid, err := millhand.StepResult[map[string]int](ctx, j, "charge")
			text, err2 := millhand.StepResult[string](ctx, j, "text")
			nothing, err3 := millhand.StepResult[int](ctx, j, "nothing")
			by, err4 := millhand.StepResult[map[string]string](ctx, j, "approved")
			_, err5 := millhand.StepResult[int](ctx, j, "text")
			_, failed := millhand.StepResult[int](ctx, j, "refused")
			_, held := millhand.StepResult[int](ctx, j, "last")
			_, unknown := millhand.StepResult[int](ctx, j, "nobody")
			for _, want := range []struct {
				err   error
				state millhand.StepState
			}{{failed, millhand.StepFailed}, {held, millhand.StepHeld}} {
				if none, ok := errors.AsType[*millhand.NoResultError](want.err); !ok || none.State != want.state || none.Job != -1 {
					t.Errorf("%v, want that it is %s", want.err, want.state)
				}
			}
			if err5 == nil || !errors.Is(unknown, millhand.ErrInvalid) {
				t.Errorf("text as a number: %v; no such step: %v", err5, unknown)
			}
			return fmt.Sprint(paid["paid"], text, nothing, by["by"]), errors.Join(err, err2, err3, err4)
		})
		c := client(t, s.Connect(t))
		_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, NoStats: true})
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{})
		first := []*millhand.Step{
			w.Step("charge", charge{250}), w.Step("text", millhand.Raw{Name: "text"}),
			w.Step("nothing", millhand.Raw{Name: "nothing"}), w.Signal("approved"),
		}
		refused := w.Step("refused", charge{-1}, millhand.Optional())
		read := w.Step("read", receipt{}, millhand.After(first...), millhand.AfterEnd(refused))
		w.Step("last", charge{1}, millhand.After(read))
		ref, err := c.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Signal(t.Context(), ref, "approved", map[string]string{"by": "oncall"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Await(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		got, err := millhand.AwaitResult[string](t.Context(), c, millhand.Ref{ID: ref.ID + "--read", Type: "receipt", Queue: "default"})
		if want := fmt.Sprint(250, "hello", 0, "oncall"); got != want || err != nil {
			t.Errorf("read %q, want %q: %v", got, want, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestStepResultOfNoWorkflow(t *testing.T) {
	if _, err := millhand.StepResult[int](t.Context(), &millhand.Job[receipt]{}, "charge"); !errors.Is(err, millhand.ErrInvalid) {
		t.Errorf("a job of a test: %v", err)
	}
}

// Whoever ends a step dies behind any of its writes: what comes after it reads what it has returned.
func TestStepResultWorkerDies(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := resultMux(func(ctx context.Context, j *millhand.Job[receipt]) (string, error) {
			paid, err := millhand.StepResult[map[string]int](ctx, j, "charge")
			return strconv.Itoa(paid["paid"]), err
		})
		c := client(t, s.Connect(t))
		for n := 0; ; n += strideOf(1) {
			w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w" + strconv.Itoa(n)})
			w.Step("read", receipt{}, millhand.After(w.Step("charge", charge{250})))
			ref, err := c.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			link := s.Link()
			writes := crashAfter(link, n)
			_, stop := start(t, link.Connect(t), millhand.WorkerConfig{Mux: mux, NoStats: true, DrainTimeout: time.Millisecond})
			time.Sleep(time.Second)
			crashed := writes.Load() > int64(n)
			_ = stop() // it cannot say what it has not written
			_, stop = start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, NoStats: true})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			_, err = c.Await(ctx, ref)
			cancel()
			got, err2 := millhand.AwaitResult[string](t.Context(), c, millhand.Ref{ID: ref.ID + "--read", Type: "receipt", Queue: "default"})
			if err != nil || err2 != nil || got != "250" {
				t.Errorf("after write %d: %v; read %q, %v", n, err, got, err2)
			}
			if err := stop(); err != nil {
				t.Errorf("after write %d: %v", n, err)
			}
			if !crashed {
				if n < 8 {
					t.Errorf("only %d writes", n)
				}
				return
			}
		}
	})
}

// What returned something is undone, and returns nothing in the retry: nobody reads what it returned before.
func TestEmptyResultsOfARetry(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var retried atomic.Bool
		var read []string
		mux := millhand.NewMux()
		mux.HandleFunc("once", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			if retried.Load() {
				return nil, nil
			}
			return []byte(`"old"`), nil
		}, millhand.TypeConfig{SilentSuccess: true})
		mux.HandleFunc("undo", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		millhand.Handle(mux, func(ctx context.Context, j *millhand.Job[receipt]) error {
			if !retried.Load() {
				return millhand.Permanent(errors.New("not yet"))
			}
			result, err := millhand.StepResult[string](ctx, j, "a")
			read = append(read, result)
			for _, group := range []string{"kept", "events"} {
				for result, resultErr := range millhand.GroupResults[string](ctx, j, group) {
					read, err = append(read, result), errors.Join(err, resultErr)
				}
			}
			return err
		})
		c := client(t, s.Connect(t))
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, NoStats: true})
		once, undo := millhand.Raw{Name: "once"}, millhand.Undo(millhand.Raw{Name: "undo"})
		two := slices.Values([]millhand.Args{once, once})
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		before := []*millhand.Step{w.Step("a", once, undo), w.Group("kept", two, millhand.KeepResults(), undo), w.Group("events", two, undo)}
		w.Step("read", receipt{}, millhand.After(before...))
		ref, err := c.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if info, err := c.Await(ctx, ref); info.State != millhand.Dead {
			t.Fatalf("it is %s: %v", info.State, err)
		}
		time.Sleep(time.Minute)
		retried.Store(true)
		if ref, err = c.RetryWorkflow(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if info, err := c.Await(ctx, ref); info.State != millhand.Succeeded || !slices.Equal(read, []string{"", "", "", "", ""}) {
			t.Errorf("the retry is %s, and reads %q: %v", info.State, read, err)
		}
	})
}
