package supervisor

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Two ends at the same moment: of a group one restart serves both, of children on their own each
// counts.
func TestEndsAtTheSameMoment(t *testing.T) {
	for strategy, alive := range map[string]bool{"one_for_one": false, "one_for_all": true} {
		t.Run(strategy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				one := 1
				_, r := w.run(setup{Strategy: strategy, MaxRestarts: &one, Children: []childSetup{{ID: "a"}, {ID: "b"}, {ID: "stops"}}})
				w.take()
				a, b := w.order("a"), w.order("b")
				a <- "boom"
				b <- "boom"
				synctest.Wait()
				if got := !r.ended(); got != alive {
					t.Errorf("alive = %t, want %t; events %v", got, alive, w.take())
				}
			})
		})
	}
}

// A child that ends while its supervisor stops is not started again.
func TestEndWhileTheSupervisorStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, r := w.run(setup{Children: []childSetup{{ID: "a"}, {ID: "slow", CleanupMS: 1000}}})
		w.take()
		r.stop(nil)
		synctest.Wait()
		w.end("a", "boom")
		<-r.done
		w.expectEvents([]caseEvent{event("exit", "a"), event("terminated", "slow", "shutdown")})
		if r.err != nil {
			t.Errorf("Run = %v, want nil", r.err)
		}
	})
}

// A child that ends while a later one starts is restarted after that, in its turn.
func TestEndDuringTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		spec := w.spec("sup", setup{Children: []childSetup{{ID: "a"}}})
		spec.Children = append(spec.Children, Child{Name: "slow", RunReady: func(ctx context.Context, ready func()) error {
			time.Sleep(time.Second)
			w.record("start", "slow")
			ready()
			return untilStopped(ctx)
		}})
		r := start(t, mustNew(t, spec))
		w.end("a", "boom")
		w.expectEvents([]caseEvent{event("start", "a"), event("exit", "a")})
		time.Sleep(2 * time.Second)
		w.expectEvents([]caseEvent{event("start", "slow"), event("start", "a")})
		r.expectAlive()
	})
}

// A group whose restart keeps failing uses up the budget; then those who were spared are stopped
// too.
func TestGroupRestartThatFailsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		two := 2
		_, r := w.run(setup{Strategy: "rest_for_one", MaxRestarts: &two, Children: []childSetup{
			{ID: "spared"}, {ID: "a"}, {ID: "b", Init: "ok, then fails"}, {ID: "c"},
		}})
		w.take()
		w.end("a", "boom")
		w.expectEvents([]caseEvent{
			event("exit", "a"), event("terminated", "c", "shutdown"), event("terminated", "b", "shutdown"),
			event("start", "a"), event("init_stop", "b"), event("init_stop", "b"),
			event("terminated", "a", "shutdown"), event("terminated", "spared", "shutdown"),
		})
		r.expectExit("shutdown")
	})
}

// What is asked of a supervisor by one of its children is done, also when it concerns that child.
func TestChildThatManagesItsSupervisor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sup *Supervisor
		errs := make(chan error, 3)
		manager := Child{Name: "manager", Restart: Temporary, Run: func(ctx context.Context) error {
			errs <- sup.StartChild(ctx, Child{Name: "added", Run: untilStopped})
			errs <- sup.StopChild(ctx, "added")
			errs <- sup.StopChild(ctx, "manager") // which cancels the wait for the answer
			return ctx.Err()
		}}
		sup = mustNew(t, Spec{Children: []Child{manager}})
		r := start(t, sup)
		for i, want := range []error{nil, nil, ErrShutdown} {
			if got := <-errs; !errors.Is(got, want) {
				t.Errorf("request %d = %v, want %v", i, got, want)
			}
		}
		synctest.Wait()
		if got := sup.Tree().Children; len(got) != 1 || got[0].Name != "added" {
			t.Errorf("children = %+v, want added", got)
		}
		r.expectAlive()
	})
}
