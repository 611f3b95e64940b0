package millhand_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A job dies, is requeued, and is not run again by a message that somebody stores who was held up for
// longer than that took.
func TestRequeuedJobRunsOnce(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var runs atomic.Int32
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error {
			if runs.Add(1) == 1 {
				return millhand.Permanent(errors.New("mail server is down"))
			}
			return nil
		}, millhand.TypeConfig{SilentSuccess: true})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		nc := s.Connect(t)
		c := client(t, nc)
		ref, err := c.Enqueue(t.Context(), email{}, millhand.WithID("a"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Await(t.Context(), ref); !errors.Is(err, millhand.ErrFailed) {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // the end is known a moment before its record
		var dead millhand.DeadJob
		for d, err := range c.Dead(t.Context(), millhand.DeadFilter{Reason: millhand.ReasonPermanent}) {
			if err != nil {
				t.Fatal(err)
			}
			dead = d
		}
		if dead.Ref != ref || dead.LastError() != "mail server is down" || len(dead.Failures) != 1 || dead.Failures[0].State != millhand.Dead {
			t.Fatalf("dead job %+v", dead)
		}
		again, err := c.Requeue(t.Context(), dead)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := c.Await(t.Context(), again); err != nil || info.State != millhand.Succeeded { // though its type ends in silence
			t.Fatalf("requeued: %+v, %v", info, err)
		}
		time.Sleep(time.Minute)
		late := nats.NewMsg("millhand.default.ready.email.a")
		late.Header.Set("Millhand-Life", again.Life)
		late.Header.Set("Millhand-Retry-Of", ref.Life)
		if err := nc.PublishMsg(late); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := runs.Load(); n != 2 {
			t.Errorf("%d runs, want 2", n)
		}
		if left := streamed(t, nc, "millhand-queue-default"); len(left) != 1 {
			t.Errorf("%d messages are left beside the pin", len(left)-1)
		}
		if same, err := c.Requeue(t.Context(), dead); err != nil || same != again {
			t.Errorf("requeued again: %+v, %v", same, err)
		}
	})
}

// What can match nothing, or says nothing, is refused.
func TestDeadOfBadInput(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		bad := millhand.DeadFilter{Queue: "event"}
		var errs []error
		for _, err := range c.Dead(t.Context(), bad) {
			errs = append(errs, err)
		}
		for _, cfg := range []millhand.RequeueConfig{{Spread: -1}, {Limit: -1}} {
			for _, err := range c.RequeueDead(t.Context(), millhand.DeadFilter{}, cfg) {
				errs = append(errs, err)
			}
		}
		for _, err := range c.RequeueDead(t.Context(), bad, millhand.RequeueConfig{}) {
			errs = append(errs, err)
		}
		_, err := c.CountDead(t.Context(), bad)
		errs = append(errs, err)
		_, err = c.PurgeDead(t.Context(), bad)
		errs = append(errs, err)
		_, err = c.Requeue(t.Context(), millhand.DeadJob{Ref: millhand.Ref{ID: "*", Type: "email"}})
		if errs = append(errs, err); len(errs) != 7 {
			t.Errorf("%d errors: %v", len(errs), errs)
		}
		for _, err := range errs {
			if !errors.Is(err, millhand.ErrInvalid) {
				t.Error(err)
			}
		}
		if _, err := c.Requeue(t.Context(), millhand.DeadJob{Ref: millhand.Ref{ID: "a", Type: "email"}, Seq: 7}); !errors.Is(err, millhand.ErrNotFound) {
			t.Errorf("of nothing: %v", err)
		}
		if n, err := c.CountDead(t.Context(), millhand.DeadFilter{}); n != 0 || err != nil {
			t.Errorf("%d dead, %v", n, err)
		}
	})
}
