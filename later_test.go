package millhand_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A handler is told when its job was due, and a worker's health how its clock goes.
func TestAHandlerKnowsWhenItsJobWasDue(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var due []time.Time
		mux := millhand.NewMux()
		millhand.Handle(mux, func(_ context.Context, j *millhand.Job[email]) error {
			due = append(due, j.RunAt)
			if j.Attempt < 2 {
				return millhand.RetryAfter(time.Minute, errors.New("busy"))
			}
			return nil
		})
		l := s.Link()
		l.Shift(-30 * time.Second)
		w, _ := start(t, l.Connect(t), millhand.WorkerConfig{Mux: mux})
		time.Sleep(time.Second)
		if got := w.Health().ClockOffset; got != "30s" {
			t.Errorf("clock_offset %s, want 30s", got)
		}
		c := client(t, s.Connect(t))
		at := time.Now().Add(10 * time.Minute).UTC()
		ref, err := c.Enqueue(t.Context(), email{}, millhand.WithRunAt(at))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Await(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if len(due) != 2 || !due[0].Equal(at) || due[1].Sub(at).Round(time.Second) != 30*time.Second {
			t.Errorf("due at %v, want %v and a minute later by a clock that is half a minute behind", due, at)
		}
		for name, opts := range map[string][]millhand.EnqueueOption{
			"both":        {millhand.WithDelay(time.Hour), millhand.WithRunAt(at)},
			"both, zero":  {millhand.WithRunAt(at), millhand.WithDelay(0)},
			"no time":     {millhand.WithRunAt(time.Time{})},
			"too far":     {millhand.WithDelay(11 * 366 * 24 * time.Hour)},
			"expires":     {millhand.WithExpires(time.Millisecond)},
			"never start": {millhand.WithExpires(-time.Hour)},
		} {
			if _, err := c.Enqueue(t.Context(), email{}, opts...); !errors.Is(err, millhand.ErrInvalid) || millhand.MaybeStored(err) {
				t.Errorf("%s: Enqueue = %v", name, err)
			}
		}
		if err := c.Move(t.Context(), ref, time.Time{}); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("Move to no time = %v", err)
		}
		if err := c.Move(t.Context(), ref, at); !errors.Is(err, millhand.ErrFinished) {
			t.Errorf("Move of a job that has ended = %v", err)
		}
	})
}
