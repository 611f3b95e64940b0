package millhand_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

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
			{typ: "t", payload: `{"a":1.0,"b":"x"}`}, {typ: "u", payload: `{"a":1,"b":"x"}`},
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
