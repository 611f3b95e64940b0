package millhand_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// filled is a workflow of a group of which nothing is published yet, and the ref of the job that does that.
func filled(t *testing.T, sc *groupScene) (ref, filler millhand.Ref) {
	t.Helper()
	w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
	load := w.Group("load", rows(3, nil))
	w.Step("tell", row{N: 9}, millhand.AfterFailure(load), millhand.Early())
	ref, err := sc.Start(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	for j, err := range sc.Jobs(t.Context(), millhand.JobFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(j.ID, "w--_fill-") {
			filler = j.Ref
		}
	}
	return ref, filler
}

func storedIn(t *testing.T, s *natstest.Server, name string) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(s.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A group fails whose jobs nobody publishes any more, and says why; a retry publishes them.
func TestGroupWhoseJobsAreNotPublished(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(t *testing.T, s *natstest.Server, sc *groupScene, filler millhand.Ref)
		why  string
		more millhand.State // of a retry
	}{
		"its payloads are gone": {
			end: func(t *testing.T, s *natstest.Server, _ *groupScene, _ millhand.Ref) {
				t.Helper()
				if err := storedIn(t, s, "millhand-workflows").Purge(t.Context(), jetstream.WithPurgeSubject("millhand.workflow.items.>")); err != nil {
					t.Fatal(err)
				}
			},
			why: "its jobs could not be published: payloads 0 of step load are gone", more: millhand.Dead,
		},
		"the job that does is cancelled": {
			end: func(t *testing.T, _ *natstest.Server, sc *groupScene, filler millhand.Ref) {
				t.Helper()
				if _, err := sc.Cancel(t.Context(), filler); err != nil {
					t.Fatal(err)
				}
			},
			why: "its jobs could not be published: requested", more: millhand.Succeeded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				sc := newGroupScene(t, s)
				ref, filler := filled(t, sc)
				tt.end(t, s, sc, filler)
				sc.start(t, s)
				if state := sc.ended(t, ref); state != millhand.Dead {
					t.Fatalf("it is %s", state)
				}
				if step := sc.step(t, ref, "load"); step.State != millhand.StepFailed || step.Error != tt.why || sc.ran["w--tell"] != 1 {
					t.Errorf("the group is %s (%q), and ran %v", step.State, step.Error, sc.ran)
				}
				ref, err := sc.RetryWorkflow(t.Context(), ref)
				if err != nil {
					t.Fatal(err)
				}
				if state := sc.ended(t, ref); state != tt.more {
					t.Errorf("retried it is %s", state)
				}
			})
		})
	}
}

// Somebody removes the job that publishes those of a group: that is said, and mended by a repair.
func TestGroupWhoseFillerIsRemoved(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newGroupScene(t, s)
		ref, filler := filled(t, sc)
		if waits := sc.step(t, ref, "load").Waits; len(waits) != 1 || waits[0] != "its jobs to be published" {
			t.Errorf("it waits for %q", waits)
		}
		time.Sleep(5 * time.Minute) // as long as the broker takes a message for one that it has stored
		if err := storedIn(t, s, "millhand-queue-default").Purge(t.Context(), jetstream.WithPurgeSubject("millhand.default.ready._workflow."+filler.ID)); err != nil {
			t.Fatal(err)
		}
		if waits := sc.step(t, ref, "load").Waits; len(waits) != 1 || !strings.Contains(waits[0], "nobody does") {
			t.Errorf("it waits for %q", waits)
		}
		if faults, err := sc.RepairWorkflow(t.Context(), ref); err != nil || len(faults) != 1 || faults[0].Fault != "not_released" {
			t.Errorf("repaired %v: %v", faults, err)
		}
		sc.start(t, s)
		if state := sc.ended(t, ref); state != millhand.Succeeded {
			t.Errorf("it is %s", state)
		}
	})
}
