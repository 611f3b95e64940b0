package worker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/worker"
)

// A failed run and a dead job are in the log of the worker that had them, its payload is not.
func TestLogTellsOfFailuresAndDeadJobs(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var log bytes.Buffer
		w := newWorker(t, s.Connect(t), worker.Config{
			Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Types: handled(func(_ context.Context, d *queue.Delivery, _ int) ([]byte, error) {
				if d.Attempt == 1 {
					return nil, errors.New("no route to " + string(d.Payload))
				}
				return nil, &job.PermanentError{Err: errors.New("no such customer")}
			}, "email"),
		})
		ctx, stop := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Errorf("worker: %v", err)
			}
		})
		c := newClient(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "email", Payload: []byte(`{"card":"4111"}`)}, millhand.WithID("bill-1"))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := c.Await(t.Context(), ref); info.State != millhand.Dead {
			t.Fatalf("job = %s, %v, want it dead", info.State, err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		stop()
		ended.Wait()
		for _, want := range []string{
			`level=DEBUG msg="a run failed, the job will be retried" worker=worker-1 type=email queue=default id=bill-1 attempt=1 delay=`,
			`err="no route to [payload]"`,
			`level=WARN msg="a job is dead" worker=worker-1 type=email queue=default id=bill-1 attempt=2 reason=permanent err="no such customer"`,
		} {
			if got := strings.Count(log.String(), want); got != 1 {
				t.Errorf("%d lines have %q, want one:\n%s", got, want, &log)
			}
		}
		if strings.Contains(log.String(), "4111") {
			t.Errorf("the log has the payload:\n%s", &log)
		}
	})
}

// What a handler calls an error may be no text. Its worker goes on.
func TestErrorThatIsNoText(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		w := newWorker(t, s.Connect(t), worker.Config{
			Types: handled(func(_ context.Context, d *queue.Delivery, _ int) ([]byte, error) {
				if d.ID == "good" {
					return nil, nil
				}
				return nil, &job.PermanentError{Err: errors.New(strings.Repeat("\x80", 1000))}
			}, "email"),
		})
		ctx, stop := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Errorf("worker: %v", err)
			}
		})
		c := newClient(t, s.Connect(t))
		for id, want := range map[string]millhand.State{"bad": millhand.Dead, "good": millhand.Succeeded} {
			ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "email"}, millhand.WithID(id))
			if err != nil {
				t.Fatal(err)
			}
			if info, err := c.Await(t.Context(), ref); info.State != want {
				t.Errorf("job %s = %s, %v, want it %s", id, info.State, err, want)
			}
		}
		for _, part := range w.Health().Tree.Children {
			if part.Restarts > 0 {
				t.Errorf("%s was restarted: %s", part.Name, part.LastError)
			}
		}
		stop()
		ended.Wait()
	})
}
