package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// typedNilError is an error that cannot even say what it is.
type typedNilError struct{ text string }

func (e *typedNilError) Error() string { return e.text }

// However a handler ends, its job ends too and its slot is free again.
func TestEveryWayAHandlerEndsIsAnEnd(t *testing.T) {
	for name, handler := range map[string]func() error{
		"nil pointer as an error": func() error { var e *typedNilError; return e },
		"Goexit":                  func() error { runtime.Goexit(); return nil },
		"panic":                   func() error { panic("boom") },
		"panic with nil pointer":  func() error { panic((*typedNilError)(nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				mux := millhand.NewMux()
				mux.HandleFunc("bad", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, handler() })
				start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: 1})
				c := client(t, s.Connect(t))
				for range 3 {
					ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "bad"}, millhand.WithMaxAttempts(2))
					if err != nil {
						t.Fatal(err)
					}
					info, err := c.Await(t.Context(), ref)
					if !errors.Is(err, millhand.ErrFailed) || info.Attempt != 2 || info.LastError() == "" {
						t.Errorf("Await = %+v, %v", info, err)
					}
				}
			})
		})
	}
}

func TestRetryAfterNothingIsNoError(t *testing.T) {
	if err := millhand.RetryAfter(time.Second, nil); err != nil {
		t.Errorf("RetryAfter(1s, nil) = %v", err)
	}
}

func TestClosedConnectionEndsTheWorker(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		mux.HandleFunc("work", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		nc := s.Connect(t)
		w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux, Config: millhand.Config{Logger: testLog(t)}})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, nc.Close)
		begin := time.Now()
		if err := w.Run(t.Context()); !errors.Is(err, nats.ErrConnectionClosed) || !strings.HasPrefix(err.Error(), "millhand: ") {
			t.Errorf("Run = %v", err)
		}
		if took := time.Since(begin); took > 2*time.Minute {
			t.Errorf("Run ended after %v", took)
		}
	})
}

// What a handler says is its worker's trouble is no attempt, even if the job has only one, and
// even if a timeout came meanwhile. It is not lost either: the job's history has it.
func TestHandBackIsNoAttempt(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		runs := 0
		mux.HandleFunc("work", func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) {
			runs++
			if runs == 20 {
				return nil, nil
			}
			<-ctx.Done()
			return nil, fmt.Errorf("outer: %w", millhand.HandBack(errors.New("no descriptors")))
		}, millhand.TypeConfig{Timeout: time.Second, MaxAttempts: 1})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "work"})
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.Await(t.Context(), ref)
		if err != nil || runs != 20 || info.Attempt != 1 || info.Crashes != 0 {
			t.Errorf("Await = %+v, %v after %d runs, want success at attempt 1 in the 20th", info, err, runs)
		}
		info, err = c.Get(t.Context(), ref)
		if err != nil || len(info.Failures) != 19 || info.LastError() != "outer: no descriptors" {
			t.Errorf("Get = %d failures, %q, %v, want what the handler said", len(info.Failures), info.LastError(), err)
		}
	})
	if err := millhand.HandBack(nil); err != nil {
		t.Errorf("HandBack(nil) = %v", err)
	}
}
