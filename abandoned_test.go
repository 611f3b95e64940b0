package millhand_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// hang ignores its context until the test ends.
func hang(until <-chan struct{}) { <-until }

func TestHandlerThatIgnoresItsTimeoutIsGivenUp(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		end := make(chan struct{})
		mux := millhand.NewMux()
		mux.HandleFunc("hang", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			hang(end)
			return nil, nil
		}, millhand.TypeConfig{Timeout: time.Minute, MaxAttempts: 1})
		mux.HandleFunc("quick", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		w, _ := start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: 1})
		c := client(t, s.Connect(t))
		stuck, err := c.Enqueue(t.Context(), millhand.Raw{Name: "hang"})
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.Await(t.Context(), stuck)
		if failed, ok := errors.AsType[*millhand.FailedError](err); !ok || !strings.Contains(failed.Message, "ignores it") {
			t.Errorf("Await: %v", err)
		}
		if stack := info.Failures[0].Stack; !strings.Contains(stack, "hang") {
			t.Errorf("the stack does not show where it hangs:\n%s", stack)
		}
		// The only slot is free again.
		quick, err := c.Enqueue(t.Context(), millhand.Raw{Name: "quick"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Await(t.Context(), quick); err != nil {
			t.Error(err)
		}
		if got := w.Health().Abandoned; got != 1 {
			t.Errorf("Abandoned = %d, want 1", got)
		}
		close(end)
	})
}

func TestTooManyAbandonedHandlersEndTheWorker(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		end := make(chan struct{})
		mux := millhand.NewMux()
		mux.HandleFunc("hang", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			hang(end)
			return nil, nil
		}, millhand.TypeConfig{Timeout: time.Second, MaxAttempts: 1})
		w, err := millhand.NewWorker(s.Connect(t), millhand.WorkerConfig{
			Mux: mux, Concurrency: 2, MaxAbandoned: 3, Config: millhand.Config{Logger: testLog(t)},
		})
		if err != nil {
			t.Fatal(err)
		}
		c := client(t, s.Connect(t))
		for range 10 {
			if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "hang"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Run(t.Context()); !errors.Is(err, millhand.ErrAbandoned) {
			t.Errorf("Run = %v, want ErrAbandoned", err)
		}
		close(end)
	})
}
