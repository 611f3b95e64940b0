package millhand_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// Somebody removes the stream of the workflows while they run: to cancel one ends its job, and of the others it
// is said what may have happened. Either id can be started again.
func TestWorkflowsWhoseStreamIsRemoved(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newWorkflowScene(t, s)
		start := func(id string) millhand.Ref {
			w := millhand.NewWorkflow("waits", millhand.WorkflowConfig{ID: id})
			w.Step("b", task(id), millhand.After(w.Signal("approved")))
			ref, err := sc.Start(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			return ref
		}
		cancelled, left := start("cancelled"), start("left")
		js, err := jetstream.New(s.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteStream(t.Context(), "millhand-workflows"); err != nil {
			t.Fatal(err)
		}
		if _, err := sc.Cancel(t.Context(), cancelled); err != nil {
			t.Errorf("cancel: %v", err)
		}
		time.Sleep(15 * time.Second)
		if info, err := sc.Get(t.Context(), cancelled); err != nil || info.State != millhand.Cancelled {
			t.Errorf("the cancelled one is %s, %v", info.State, err)
		}
		if info, err := sc.Get(t.Context(), left); err != nil || info.State != millhand.Dead || !strings.Contains(info.LastError(), "was removed") {
			t.Errorf("the other is %s: %s, %v", info.State, info.LastError(), err)
		}
		start("cancelled")
		start("left")
	})
}
