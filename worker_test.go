package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

type email struct {
	To string `json:"to"`
}

func (email) Type() string { return "email" }

// start runs a worker until the test ends or stop is called, which waits for its end.
func start(t *testing.T, nc *nats.Conn, cfg millhand.WorkerConfig) (w *millhand.Worker, stop func() error) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testLog(t)
	}
	w, err := millhand.NewWorker(nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stopped := false
	stop = func() error {
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if !stopped {
			if err := stop(); err != nil {
				t.Errorf("worker: %v", err)
			}
		}
	})
	return w, stop
}

func testLog(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func client(t *testing.T, nc *nats.Conn) *millhand.Client {
	t.Helper()
	c, err := millhand.NewClient(nc, millhand.Config{Logger: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// jetStream is the broker as a client of JetStream sees it.
func jetStream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// openStream returns a stream that must be there, as it is now.
func openStream(t *testing.T, js jetstream.JetStream, name string) jetstream.Stream {
	t.Helper()
	st, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestJobSucceeds(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		millhand.HandleResult(mux, func(_ context.Context, j *millhand.Job[email]) (string, error) {
			return "sent to " + j.Args.To, nil
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), email{To: "a@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := millhand.AwaitResult[string](t.Context(), c, ref)
		if err != nil || got != "sent to a@example.com" {
			t.Errorf("AwaitResult = %q, %v", got, err)
		}
	})
}

func TestFailedJobIsRetriedThenDead(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var runs []time.Time
		mux := millhand.NewMux()
		millhand.Handle(mux, func(_ context.Context, j *millhand.Job[email]) error {
			runs = append(runs, time.Now())
			return fmt.Errorf("no route, attempt %d", j.Attempt)
		}, millhand.TypeConfig{MaxAttempts: 4, Backoff: millhand.Backoff{Initial: 10 * time.Second, Jitter: -1}})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), email{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Await(t.Context(), ref)
		failed, ok := errors.AsType[*millhand.FailedError](err)
		if !ok || failed.Attempts != 4 || failed.Reason != "exhausted" {
			t.Fatalf("Await: %v", err)
		}
		for i, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
			if got := runs[i+1].Sub(runs[i]).Round(time.Second); got != want {
				t.Errorf("pause %d = %v, want %v", i+1, got, want)
			}
		}
		info, err := c.Get(t.Context(), ref)
		if err != nil || len(info.Failures) != 4 || info.Failures[0].Error != "no route, attempt 1" {
			t.Errorf("Get = %+v, %v", info, err)
		}
	})
}

// succeed is a handler with nothing to do.
func succeed(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil }
