package millhand_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A broker forgets the last write to a workflow, and remembers what followed; messages of jobs are removed. Each is
// found, and mended once.
func TestWorkflowIsRepaired(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		a := w.Step("a", task("a"))
		other := w.Step("other", millhand.Raw{Name: "other"})
		w.Step("b", task("b"), millhand.After(a, other))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(s.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		check := func(want ...millhand.WorkflowFault) {
			t.Helper()
			found, err := sc.CheckWorkflow(t.Context(), ref)
			if err != nil || !slices.Equal(found, want) {
				t.Errorf("found %v, want %v: %v", found, want, err)
			}
			if found, err = sc.RepairWorkflow(t.Context(), ref); err != nil || !slices.Equal(found, want) {
				t.Errorf("repaired %v, want %v: %v", found, want, err)
			}
		}
		check()
		run, _, _ := strings.Cut(ref.Life, "-")
		forget := func() {
			t.Helper()
			if _, err := js.Publish(t.Context(), "millhand.workflow.tally."+run, []byte(`{"id":"w","gen":1,"n":3,"bits":"AA==","cancelled":false,"abandoned":false}`)); err != nil {
				t.Fatal(err)
			}
		}
		remove := func(subject string) {
			t.Helper()
			queue, err := js.Stream(t.Context(), "millhand-queue-default")
			if err != nil {
				t.Fatal(err)
			}
			if err := queue.Purge(t.Context(), jetstream.WithPurgeSubject(subject)); err != nil {
				t.Fatal(err)
			}
		}
		forget()
		check(millhand.WorkflowFault{Step: "a", Fault: "not_counted"})
		if state := sc.states(t, ref)["a"]; state != millhand.StepSucceeded {
			t.Errorf("a is %s", state)
		}
		time.Sleep(5 * time.Minute) // as long as the broker takes a message for one that it has stored
		remove("millhand.default.ready.other.w--other")
		check(millhand.WorkflowFault{Step: "other", Fault: "not_released"})
		remove("millhand.default.later._workflow.w")
		check(millhand.WorkflowFault{Fault: "no_job"})
		check()
		mux := millhand.NewMux()
		mux.HandleFunc("other", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, NoStats: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if info, err := sc.Await(ctx, ref); err != nil || !slices.Equal(sc.order(), []string{`"a"`, `"b"`}) {
			t.Errorf("ended as %s, ran %v: %v", info.State, sc.order(), err)
		}
		check()
	})
}
