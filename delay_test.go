package millhand_test

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A job that is to wait for longer than time can be counted waits, instead of running at once
// and for ever: brokers compare times as nanoseconds, which end in 2262.
func TestWaitsBeyondTheEndOfTime(t *testing.T) {
	failure := errors.New("failed")
	for name, tt := range map[string]struct {
		err     error
		backoff millhand.Backoff
	}{
		"snoozed":         {err: millhand.Snooze(math.MaxInt64)},
		"retried after":   {err: millhand.RetryAfter(math.MaxInt64, failure)},
		"snoozed to 2262": {err: millhand.Snooze(time.Until(time.Date(2262, 4, 12, 0, 0, 0, 0, time.UTC)))},
		"backoff":         {err: failure, backoff: millhand.Backoff{Initial: math.MaxInt64, Max: math.MaxInt64, Jitter: 0.9}},
		"steep backoff":   {err: failure, backoff: millhand.Backoff{Initial: time.Second, Max: math.MaxInt64, Jitter: -1, Factor: math.MaxFloat64}},
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				var runs atomic.Int32
				mux := millhand.NewMux()
				millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error {
					runs.Add(1)
					return tt.err
				}, millhand.TypeConfig{Backoff: tt.backoff})
				start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
				c := client(t, s.Connect(t))
				ref, err := c.Enqueue(t.Context(), email{})
				if err != nil {
					t.Fatal(err)
				}
				most := int32(1)
				if name == "steep backoff" {
					most = 2 // the first delay is a second
				}
				time.Sleep(3 * time.Minute)
				if n := runs.Load(); n != most {
					t.Errorf("it ran %d times", n)
				}
				info, err := c.Get(t.Context(), ref)
				if wait := time.Until(info.RunAt); err != nil || wait < 9*365*24*time.Hour || wait > 101*365*24*time.Hour {
					t.Errorf("it waits for %v: %+v, %v", wait, info, err)
				}
			})
		})
	}
}

// What expires is a job that was never started: one that was is settled by how it ends.
func TestStartedJobsDoNotExpire(t *testing.T) {
	for _, cut := range []string{"drained", "failed", "snoozed", "killed"} {
		t.Run(cut, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				nc := s.Connect(t)
				c := client(t, nc)
				var runs atomic.Int32
				handler := func(ctx context.Context, _ *millhand.Job[email]) error {
					if runs.Add(1) > 1 {
						return nil
					}
					switch cut {
					case "failed":
						return errors.New("failed")
					case "snoozed":
						return millhand.Snooze(3 * time.Minute)
					}
					<-ctx.Done()
					return context.Cause(ctx)
				}
				cfg := func() millhand.WorkerConfig {
					mux := millhand.NewMux()
					millhand.Handle(mux, handler, millhand.TypeConfig{Backoff: millhand.Backoff{Initial: 3 * time.Minute}})
					return millhand.WorkerConfig{Mux: mux, DrainTimeout: -1}
				}
				link := s.Link()
				_, stop := start(t, link.Connect(t), cfg())
				time.Sleep(time.Second)
				publishWith(t, nc, "millhand.default.ready.email.a", "Millhand-Expires", "1m")
				publishWith(t, nc, "millhand.default.ready.other.a", "Millhand-Expires", "1m") // nobody runs it
				time.Sleep(2 * time.Minute)
				switch cut {
				case "drained":
					_ = stop() // it hands back
				case "killed":
					link.Down()
					link.Cut()
				}
				start(t, s.Connect(t), cfg())
				time.Sleep(4 * time.Minute)
				info, err := c.Get(t.Context(), millhand.Ref{Type: "email", ID: "a"})
				if err != nil || info.State != millhand.Succeeded {
					t.Errorf("the job is %s (%s), %v, after %d runs", info.State, info.Reason, err, runs.Load())
				}
				if cut == "killed" {
					link.Up()
				}
			})
		})
	}
}
