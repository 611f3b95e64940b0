package millhand_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// What is the same by type and payload is alive once, from whichever call it comes and in whatever
// order its members are written; what differs is another job.
func TestUniqueIsAliveOnce(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		enqueue := func(typ, payload string, opts ...millhand.EnqueueOption) (millhand.Ref, error) {
			return c.Enqueue(t.Context(), millhand.Raw{Name: typ, Payload: []byte(payload)}, append(opts, millhand.WithUnique())...)
		}
		first, err := enqueue("t", `{"a":1,"b":"x"}`)
		if err != nil {
			t.Fatal(err)
		}
		for _, payload := range []string{`{"a":1,"b":"x"}`, `{ "b": "\u0078", "a": 1 }`} {
			_, err := enqueue("t", payload, millhand.WithMaxAttempts(3), millhand.WithMeta("k", "v"))
			duplicate, ok := errors.AsType[*millhand.DuplicateError](err)
			if !ok || duplicate.Existing != first {
				t.Errorf("%s: %v, want a duplicate of %v", payload, err, first)
			}
		}
		for _, other := range []struct {
			typ, payload string
			opts         []millhand.EnqueueOption
		}{
			{typ: "t", payload: `{"a":1.0,"b":"x"}`},
			{typ: "u", payload: `{"a":1,"b":"x"}`},
			{typ: "t", payload: `{"a":1,"b":"x"}`, opts: []millhand.EnqueueOption{millhand.WithQueue("low")}},
		} {
			if _, err := enqueue(other.typ, other.payload, other.opts...); err != nil {
				t.Errorf("%v: %v", other, err)
			}
		}
		batch := []millhand.Request{
			{Args: millhand.Raw{Name: "t", Payload: []byte(`{"b":"x","a":1}`)}, Options: []millhand.EnqueueOption{millhand.WithUnique()}},
			{Args: millhand.Raw{Name: "t", Payload: []byte(`{"b":"x","a":1}`)}},
		}
		refs, err := c.EnqueueMany(t.Context(), batch)
		many, ok := errors.AsType[*millhand.BatchError](err)
		if !ok || !errors.Is(many.Errs[0], millhand.ErrDuplicate) || many.Errs[1] != nil || refs[1].ID == first.ID {
			t.Errorf("many: %v, %v", refs, err)
		}
	})
}

// The id is of what the caller gave: a middleware that encrypts has another payload each time.
func TestUniqueIsOfThePayloadAsItWasGiven(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		n := 0
		c.Use(func(next millhand.EnqueueFunc) millhand.EnqueueFunc {
			return func(ctx context.Context, jobs []*millhand.Draft) error {
				for _, d := range jobs {
					n++
					d.Payload, _ = json.Marshal(map[string]any{"nonce": n, "sealed": d.Payload})
				}
				return next(ctx, jobs)
			}
		})
		if _, err := c.Enqueue(t.Context(), email{}, millhand.WithUnique()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Enqueue(t.Context(), email{}, millhand.WithUnique()); !errors.Is(err, millhand.ErrDuplicate) {
			t.Errorf("the second is %v", err)
		}
	})
}

// Once per period: the id is taken from the enqueue until the period has passed since the job's
// time, and free then.
func TestUniqueForAPeriod(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		c := client(t, nc)
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		began := time.Now()
		enqueue := func() (millhand.Ref, error) {
			return c.Enqueue(t.Context(), email{}, millhand.WithDelay(time.Minute), millhand.WithUniqueFor(10*time.Minute))
		}
		first, err := enqueue()
		if err != nil {
			t.Fatal(err)
		}
		refused := func(until time.Time) {
			t.Helper()
			_, err := enqueue()
			d, ok := errors.AsType[*millhand.DuplicateError](err)
			if !ok || d.Existing != first || !d.Until.Equal(until) {
				t.Errorf("after %v: %v, want a duplicate of %v until %v", time.Since(began), err, first, until)
			}
		}
		refused(time.Time{}) // it is alive
		if _, err := c.Await(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		until := began.Add(time.Minute + 10*time.Minute)
		for range 3 {
			time.Sleep(time.Until(until)/2 + time.Second/2)
			refused(until)
		}
		if info, err := c.Get(t.Context(), first); err != nil || info.State != millhand.Succeeded {
			t.Errorf("the job whose id is kept is %v, %v", info.State, err)
		}
		time.Sleep(time.Until(until) - time.Millisecond)
		refused(until)
		time.Sleep(250 * time.Millisecond)
		second, err := enqueue()
		if err != nil || second.ID != first.ID {
			t.Errorf("when the period is over: %v, %v", second, err)
		}
	})
}

// The broker refuses a held id to whoever asks as wire.md says, without this package.
func TestUniqueForAPeriodIsRefusedByTheBroker(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		c := client(t, nc)
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		publish := func() string {
			m := nats.NewMsg("millhand.default.ready.email.a")
			m.Data = []byte("{}")
			m.Header.Set("Nats-Expected-Last-Subject-Sequence", "0")
			m.Header.Set("Nats-Expected-Last-Subject-Sequence-Subject", "millhand.default.*.email.a")
			m.Header.Set("Millhand-Unique-Until", time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano))
			answer, err := nc.RequestMsgWithContext(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			var ack struct {
				Error struct {
					Code int `json:"err_code"`
				}
			}
			if err := json.Unmarshal(answer.Data, &ack); err != nil {
				t.Fatal(err)
			}
			if ack.Error.Code == 10071 {
				return "refused"
			}
			return "stored"
		}
		time.Sleep(time.Second)
		if got := publish(); got != "stored" {
			t.Errorf("the first is %s", got)
		}
		ref := millhand.Ref{Queue: "default", Type: "email", ID: "a"}
		info, err := c.Await(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := publish(); got != "refused" {
			t.Errorf("the second is %s", got)
		}
		if err := c.Release(t.Context(), millhand.Ref{Queue: "default", Type: "email", ID: "a", Life: "another"}); !errors.Is(err, millhand.ErrNotFound) {
			t.Errorf("Release of another life = %v", err)
		}
		if err := c.Release(t.Context(), info.Ref); err != nil {
			t.Errorf("Release = %v", err)
		}
		if err := c.Release(t.Context(), info.Ref); !errors.Is(err, millhand.ErrNotFound) {
			t.Errorf("Release of what is free = %v", err)
		}
		if got := publish(); got != "stored" {
			t.Errorf("after its release: %s", got)
		}
	})
}
