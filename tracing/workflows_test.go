package tracing_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/millhand/millhand"
)

// The run of a step is linked to those of the steps that it comes after, however these ended, and that of what undoes a
// step to its run.
func TestSteps(t *testing.T) {
	inScene(t, func(s *scene) {
		s.hire("a", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			if strings.HasSuffix(j.ID, "--bad") {
				return nil, millhand.Permanent(errors.New("no"))
			}
			return nil, nil
		})
		email := millhand.Raw{Name: "email", Payload: []byte("{}")}
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		a := w.Step("a", email, millhand.Undo(email))
		bad := w.Step("bad", email, millhand.After(w.Sleep("pause", time.Second)))
		w.Step("both", email, millhand.After(a), millhand.AfterFailure(bad))
		w.Step("rows", email, millhand.After(a))
		w.Group("group", slices.Values([]millhand.Args{email, email}), millhand.AfterEnd(bad))
		ref, err := s.client.Start(s.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(s.Context(), time.Hour)
		defer cancel()
		if info, err := s.client.Await(ctx, ref); info.State != millhand.Dead {
			t.Fatalf("it is %s: %v", info.State, err)
		}
		runs := make(map[string]tracetest.SpanStub)
		for _, run := range s.named("process") {
			for _, a := range run.Attributes {
				if a.Key == "messaging.message.id" {
					runs[strings.TrimPrefix(a.Value.AsString(), "w--")] = run
				}
			}
		}
		if len(runs) != 7 {
			t.Fatalf("%d runs", len(runs))
		}
		s.linked(runs["a"])
		s.linked(runs["bad"])
		s.linked(runs["both"], runs["a"], runs["bad"])
		s.linked(runs["rows"], runs["a"])
		s.linked(runs["group--0"], runs["bad"])
		s.linked(runs["group--1"], runs["bad"])
		s.linked(runs["undo-a"], runs["a"])
	})
}
