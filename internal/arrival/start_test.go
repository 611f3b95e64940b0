package arrival

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

func oneStep(run string) *workflow.Spec {
	return &workflow.Spec{ID: "w", Run: run, Gen: 1, Queue: "default", Steps: []workflow.Step{{Name: "s", Kind: workflow.KindJob, Type: "t"}}}
}

// The job of a run ends whose id has the graph of another one: it does not look each second for ever.
func TestDriverWhoseGraphIsAnothers(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		b := newBench(t, server)
		spec := oneStep("one")
		if err := b.Start(t.Context(), spec, 0); err != nil {
			t.Fatal(err)
		}
		data, err := oneStep("other").Encode()
		if err != nil {
			t.Fatal(err)
		}
		there, err := b.others.Last(t.Context(), b.stream(), b.specSubject("w"))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.publish(t.Context(), b.specSubject("w"), data, there.Seq); err != nil {
			t.Fatal(err)
		}
		_, err = newBench(t, server).Drive(t.Context(), driverRecord(spec, 1))
		if _, ok := errors.AsType[*job.PermanentError](err); !ok {
			t.Errorf("it is run: %v, want an error that is permanent", err)
		}
	})
}

// What a creator has stored that did not get through is removed, but not before it could not go on any more.
func TestBarredRunIsRemoved(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		b := newBench(t, server)
		spec := oneStep("one")
		if err := b.prepare(t.Context(), spec, 0); err != nil {
			t.Fatal(err)
		}
		items := b.itemsSubject("one", "p", "0")
		data, err := spec.Encode()
		if err != nil {
			t.Fatal(err)
		}
		for _, subject := range []string{b.specSubject("w"), items} {
			if err := b.publish(t.Context(), subject, data, 0); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Drive(t.Context(), driverRecord(spec, 1)); err == nil {
			t.Fatal("a run of which nobody stored the tally goes on")
		}
		clean := cleanJob(spec, 1)
		place, err := clean.Place()
		if err != nil {
			t.Fatal(err)
		}
		if m, err := b.queues.Find(t.Context(), place); err != nil || time.Until(m.Due) < 7*24*time.Hour-time.Minute {
			t.Fatalf("nobody removes it later: %+v, %v", m, err)
		}
		if _, err := b.Drive(t.Context(), clean); err != nil {
			t.Fatal(err)
		}
		for _, subject := range []string{b.specSubject("w"), b.tallySubject("one"), items} {
			if _, err := b.others.Last(t.Context(), b.stream(), subject); !errors.Is(err, stream.ErrNotFound) {
				t.Errorf("%s is left: %v", subject, err)
			}
		}
	})
}

func TestTimeToBegin(t *testing.T) {
	spec := oneStep("one")
	if got := beginTime(spec); got != 10*time.Second {
		t.Errorf("without payloads %s", got)
	}
	for range 200 {
		spec.Steps[0].Items.Documents = append(spec.Steps[0].Items.Documents, make([]byte, 512<<10))
	}
	if got := beginTime(spec); got != 110*time.Second {
		t.Errorf("with 100 MiB %s", got)
	}
}

// A creator that stood still until it was barred, and somebody else had started the id, leaves that one's graph alone.
func TestFrozenCreator(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		a, b := newBench(t, server), newBench(t, server)
		first, second := oneStep("one"), oneStep("two")
		frozen, goOn := make(chan struct{}), make(chan struct{})
		freeze := sync.OnceFunc(func() { close(frozen); <-goOn })
		a.link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "millhand.workflow.spec.") {
				freeze()
			}
			return natstest.Pass
		})
		started := make(chan error, 1)
		go func() { started <- a.Start(t.Context(), first, 0) }()
		<-frozen
		if _, err := b.Drive(t.Context(), driverRecord(first, 1)); err == nil {
			t.Fatal("it is not barred")
		}
		place, err := driverRecord(first, 1).Place()
		if err != nil {
			t.Fatal(err)
		}
		if err := b.queues.End(t.Context(), place, workflow.Life("one", 1), queue.Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent}); err != nil {
			t.Fatal(err)
		}
		if err := b.Start(t.Context(), second, 0); err != nil {
			t.Fatal(err)
		}
		close(goOn)
		if err := <-started; !errors.Is(err, ErrAbandoned) {
			t.Errorf("the one that was frozen: %v", err)
		}
		if run, _, err := b.specRun(t.Context(), "w"); run != "two" {
			t.Errorf("the graph is of run %q, %v", run, err)
		}
	})
}

// Whoever begins a workflow that somebody else has begun meanwhile leaves the graph alone, which may have grown.
func TestGraphOfTheRunIsLeft(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		b := newBench(t, server)
		small, grown := oneStep("one"), oneStep("one")
		grown.Steps = append(grown.Steps, workflow.Step{Name: "more", Kind: workflow.KindJob, Type: "t"})
		if err := b.Start(t.Context(), grown, 0); err != nil {
			t.Fatal(err)
		}
		data, err := small.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := b.storeSpec(t.Context(), small, data, replaces("")); err != nil {
			t.Fatal(err)
		}
		if spec, _, err := b.spec(t.Context(), "w"); err != nil || len(spec.Steps) != 2 {
			t.Errorf("of its two steps there are left: %+v, %v", spec, err)
		}
	})
}

// The payloads of a group in a workflow that is a step, and never begins, leave with the run that stored them.
func TestPayloadsOfAStepThatNeverBeginsAreRemoved(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		b := newBench(t, server)
		group := workflow.Step{Name: "g", Kind: workflow.KindGroup, Type: "t"}
		if err := group.Items.Add("g", []byte("1")); err != nil {
			t.Fatal(err)
		}
		group.Jobs = group.Items.Close()
		spec := oneStep("one")
		child := &workflow.Spec{Name: "child", Queue: "default", Gen: 1, Steps: []workflow.Step{group}}
		spec.Steps = append(spec.Steps, workflow.Step{
			Name: "sub", Kind: workflow.KindWorkflow, Child: child, After: []workflow.Condition{{Mode: workflow.AllSucceeded, Of: []int{0}}},
		})
		if err := b.Start(t.Context(), spec, 0); err != nil {
			t.Fatal(err)
		}
		items := b.itemsSubject("one", child.Steps[0].Payloads, "0")
		if _, err := b.others.Last(t.Context(), b.stream(), items); err != nil {
			t.Fatalf("there are no payloads: %v", err)
		}
		if _, err := b.Drive(t.Context(), cleanJob(spec, 1)); err != nil {
			t.Fatal(err)
		}
		info, err := b.others.Info(t.Context(), b.stream())
		if err != nil || info.State.Msgs != 0 {
			t.Errorf("%d documents are left: %v", info.State.Msgs, err)
		}
	})
}
