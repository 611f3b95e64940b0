package millhand_test

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// endsSince returns the ends of all lives since a time, each as often as there is an event of it.
func endsSince(t *testing.T, c *millhand.Client, since time.Time) map[millhand.Ref][]millhand.EventKind {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	found := make(map[millhand.Ref][]millhand.EventKind)
	for e, err := range c.Events(ctx, since) {
		if err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
		if err == nil && e.State.Final() {
			found[e.Ref] = append(found[e.Ref], e.Kind)
		}
	}
	return found
}

func numbers(n int) iter.Seq[millhand.Args] {
	return func(yield func(millhand.Args) bool) {
		for i := range n {
			if !yield(numbered{i}) {
				return
			}
		}
	}
}

// Each job of a group that failed early has one event of its end, also if a worker takes it after that and before
// somebody cancels what is left.
func TestJobsOfAFailedGroupHaveEnds(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		begun := time.Now()
		c := client(t, s.Connect(t))
		ran := 0
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[numbered]) error {
			ran++
			time.Sleep(2 * time.Second)
			return millhand.Permanent(errors.New("no"))
		})
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w"})
		w.Group("load", numbers(10), millhand.Tolerate(0), millhand.Enqueue(millhand.WithQueue("rows")))
		ref, err := c.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		others := millhand.NewMux() // of workers that publish the group, and cancel what is left of it
		others.HandleFunc("other", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: others, NoStats: true})
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, NoStats: true, Concurrency: 1, Queues: []millhand.Queue{{Name: "rows"}}})
		time.Sleep(time.Minute)
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: others, NoStats: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if info, err := c.Await(ctx, ref); info.State != millhand.Dead {
			t.Fatalf("it is %s: %v", info.State, err)
		}
		kinds := make(map[millhand.EventKind]int)
		for of, ended := range endsSince(t, c, begun) {
			if len(ended) != 1 {
				t.Errorf("%s has the ends %v", of.ID, ended)
			}
			if of.Type == "numbered" {
				kinds[ended[0]]++
			}
		}
		if kinds[millhand.EventDead] != ran || kinds[millhand.EventCancelled] != 10-ran || ran == 10 {
			t.Errorf("%d of 10 ran, ended as %v", ran, kinds)
		}
	})
}

// A failure that stops a workflow leaves no job without an end: those of groups, those that run, those that wait, and
// timers.
func TestJobsOfAStoppedWorkflowHaveEnds(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		begun := time.Now()
		sc := newWorkflowScene(t, s, "bad")
		w := millhand.NewWorkflow("", millhand.WorkflowConfig{ID: "w", FailFast: true})
		w.Step("bad", task("bad"))
		w.Step("runs", task("long"))
		w.Step("waits", millhand.Raw{Name: "nobody"})
		w.Sleep("timer", 10*time.Minute)
		w.Group("load", rows(5, nil))
		ref, err := sc.Start(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if info, err := sc.Await(ctx, ref); info.State != millhand.Dead {
			t.Fatalf("it is %s: %v", info.State, err)
		}
		time.Sleep(20 * time.Minute)
		found := endsSince(t, sc.Client, begun)
		for of, ended := range found {
			if len(ended) != 1 {
				t.Errorf("%s has the ends %v", of.ID, ended)
			}
		}
		for _, id := range []string{"bad", "runs", "waits", "timer"} {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(found)), func(of millhand.Ref) bool { return of.ID == "w--"+id }) {
				t.Errorf("%s has no end", id)
			}
		}
	})
}
