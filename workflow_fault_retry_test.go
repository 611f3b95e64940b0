package millhand_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// Workers die again and again while they publish a group: it is no fault of the job that does, so it is not given up.
func TestWorkflowOutlivesManyCrashes(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newFaultScene(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Group("group", tasks("part", 3))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		stuck := millhand.NewMux()
		stuck.HandleFunc("idle", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		for range 8 {
			link := s.Link()
			published := atomic.Bool{}
			link.Watch(func(subject string) natstest.Fate {
				if !strings.HasPrefix(subject, "millhand.workflow.tally.") {
					return natstest.Pass
				}
				published.Store(true)
				link.Down()
				return natstest.CutBefore
			})
			_, stop := start(t, link.Connect(t), millhand.WorkerConfig{Mux: stuck, NoStats: true, AckWait: faultLease, DrainTimeout: time.Millisecond})
			time.Sleep(2 * faultLease)
			_ = stop() // it cannot say what it has not written
			if !published.Load() {
				t.Error("nobody publishes the group")
			}
		}
		stop := sc.work(nil, s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if info, err := sc.Await(ctx, ref); err != nil {
			t.Errorf("it is %s: %v", info.State, err)
		}
		sc.halt(t, stop)
	})
}

// A group is retried at once, by a worker that has just looked at the generation before: its jobs run.
func TestGroupIsRetriedAtOnce(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newFaultScene(t, s)
		stop := sc.work(nil, s)
		sc.fails[`"part1"`] = true
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Group("group", tasks("part", 3))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := sc.Await(t.Context(), ref); info.State != millhand.Dead {
			t.Fatalf("it is %s: %v", info.State, err)
		}
		ref = sc.retry(ref)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if info, err := sc.Await(ctx, ref); err != nil || !slices.Equal(sc.order(), []string{`"part1"`}) {
			t.Errorf("it is %s, ran %v: %v", info.State, sc.order(), err)
		}
		sc.halt(t, stop)
	})
}

// What is left of a group that has failed early has an end, too.
func TestJobsOfAFailedGroupEnd(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newFaultScene(t, s)
		const jobs = 20
		sc.fails[`"part0"`] = true
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Group("group", tasks("part", jobs), millhand.Tolerate(0))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: sc.mux, NoStats: true, Concurrency: 1})
		if info, err := sc.Await(t.Context(), ref); info.State != millhand.Dead {
			t.Fatalf("it is %s: %v", info.State, err)
		}
		time.Sleep(time.Minute)
		run, _, _ := strings.Cut(ref.Life, "-")
		for i := range jobs {
			part := millhand.Ref{ID: fmt.Sprint("w--group--", i), Type: "task", Queue: "default", Life: fmt.Sprint(run, "-1-0-", i)}
			if ends := sc.ends.ofLife(part); len(ends) != 1 {
				t.Errorf("job %d has ended as %v", i, ends)
			}
		}
		sc.halt(t, stop)
	})
}

// A workflow is retried in the moment between its last step and its own end: that is the one it would have had.
func TestWorkflowIsRetriedBeforeItsEnd(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		sc := newFaultScene(t, s)
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Step("bad", task("bad"))
		sc.fails[`"bad"`] = true
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		link := s.Link()
		link.Watch(func(subject string) natstest.Fate {
			if subject == "millhand.event.default._workflow.w" {
				link.Down()
				return natstest.CutBefore
			}
			return natstest.Pass
		})
		stopHit := sc.work(link, s)
		time.Sleep(time.Second)
		_ = stopHit() // it cannot say what it has not written
		again := sc.retry(ref)
		if ends := sc.ends.ofLife(ref); !slices.Equal(ends, []string{"dead"}) {
			t.Errorf("the first generation has ended as %v", ends)
		}
		stop := sc.work(nil, s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if info, err := sc.Await(ctx, again); err != nil {
			t.Errorf("the second is %s: %v", info.State, err)
		}
		time.Sleep(2 * faultLease)
		if twice := sc.ends.twice(); len(twice) > 0 {
			t.Errorf("these have not ended once: %v", twice)
		}
		sc.halt(t, stop)
	})
}
