package supervisor

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func mustNew(t *testing.T, spec Spec) *Supervisor {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "sup"
	}
	s, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// untilStopped is a child that does nothing.
func untilStopped(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// stubborn is a child that ignores its context for an hour.
func stubborn(context.Context) error {
	time.Sleep(time.Hour)
	return nil
}

func TestNewRefusesImpossibleSpecs(t *testing.T) {
	child := Child{Name: "a", Run: untilStopped}
	with := func(change func(*Spec)) Spec {
		s := Spec{Name: "sup", Children: []Child{child}}
		change(&s)
		return s
	}
	tests := map[string]Spec{
		"no name":             with(func(s *Spec) { s.Name = "" }),
		"negative intensity":  with(func(s *Spec) { s.MaxRestarts = new(-1) }),
		"negative window":     with(func(s *Spec) { s.Within = -1 }),
		"strategy":            with(func(s *Spec) { s.Strategy = 3 }),
		"auto-shutdown":       with(func(s *Spec) { s.AutoShutdown = 3 }),
		"backoff":             with(func(s *Spec) { s.Backoff = Backoff{First: 2, Max: 1} }),
		"child without name":  with(func(s *Spec) { s.Children[0].Name = "" }),
		"child without run":   with(func(s *Spec) { s.Children[0].Run = nil }),
		"child with two runs": with(func(s *Spec) { s.Children[0].Part = &Dynamic{} }),
		"child's restart":     with(func(s *Spec) { s.Children[0].Restart = 3 }),
		"child's timeout":     with(func(s *Spec) { s.Children[0].StopTimeout = -1 }),
		"no wait, but how long": with(func(s *Spec) {
			s.Children[0].NoWait, s.Children[0].StopTimeout = true, time.Second
		}),
	}
	for name, spec := range tests {
		if _, err := New(spec); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: New = %v, want %v", name, err, ErrSpec)
		}
	}
}

func TestStartIsAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, r := w.run(setup{Children: []childSetup{{ID: "a"}, {ID: "b"}, {ID: "c", Init: "fails"}, {ID: "d"}}})
		if !r.ended() {
			t.Fatal("alive, want its end")
		}
		failed, ok := errors.AsType[*StartError](r.err)
		if !ok || failed.Child != "c" || !errors.Is(r.err, errBoom) {
			t.Errorf("Run = %v, want %v from c", r.err, errBoom)
		}
		w.expectEvents([]caseEvent{
			event("start", "a"), event("start", "b"), event("init_stop", "c"),
			event("terminated", "b", "shutdown"), event("terminated", "a", "shutdown"),
		})
	})
}

func TestStopDuringASlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		spec := w.spec("sup", setup{Children: []childSetup{{ID: "a"}}})
		spec.Children = append(spec.Children, Child{Name: "slow", RunReady: func(ctx context.Context, _ func()) error {
			<-ctx.Done() // never ready
			w.record("terminated", "slow")
			return ctx.Err()
		}})
		r := start(t, mustNew(t, spec))
		if err := r.end(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		w.expectEvents([]caseEvent{event("start", "a"), event("terminated", "slow"), event("terminated", "a", "shutdown")})
	})
}

func TestRunBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Spec{Children: []Child{{Name: "a", Run: untilStopped}}})
		r := start(t, s)
		if err := s.StartChild(t.Context(), Child{Name: "b", Run: untilStopped}); err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context()); !errors.Is(err, ErrAlreadyStarted) {
			t.Errorf("second Run = %v, want %v", err, ErrAlreadyStarted)
		}
		_ = r.end()
		if err := s.StopChild(t.Context(), "a"); !errors.Is(err, ErrNotRunning) {
			t.Errorf("StopChild after the end = %v, want %v", err, ErrNotRunning)
		}
		start(t, s)
		if got := len(s.Tree().Children); got != 1 {
			t.Errorf("children of the second run = %d, want 1", got)
		}
	})
}

func TestBackoffBetweenRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		w := newWorld(t)
		spec := w.spec("sup", setup{Children: []childSetup{{ID: "a"}, {ID: "b"}}})
		spec.Backoff, spec.OnEvent = Backoff{First: 4 * time.Second, Max: 10 * time.Second}, log.add
		s := mustNew(t, spec)
		r := start(t, s)
		whole := []time.Duration{4 * time.Second, 8 * time.Second, 10 * time.Second}
		for n, want := range whole {
			w.end("a", "boom")
			if got := childNamed(s.Tree(), "a"); got.State != StateRestarting || got.LastError != "boom" {
				t.Errorf("a = %+v, want it restarting because of boom", got)
			}
			delay := log.of(ChildRestarting)[n].Delay
			if delay < want/2 || delay > want {
				t.Errorf("delay %d = %v, want it between %v and %v", n, delay, want/2, want)
			}
			time.Sleep(delay)
			synctest.Wait()
			if got := childNamed(s.Tree(), "a"); got.State != StateRunning || got.Restarts != n+1 {
				t.Errorf("a = %+v, want it running after %d restarts", got, n+1)
			}
		}
		time.Sleep(DefaultWithin + 1) // long enough to be called stable
		w.end("a", "boom")
		if got := log.of(ChildRestarting)[3].Delay; got > whole[0] {
			t.Errorf("delay after a stable run = %v, want at most %v", got, whole[0])
		}
		w.end("b", "boom") // while a waits
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, n := range s.Tree().Children {
			if n.State != StateRunning {
				t.Errorf("%s is %s, want it running", n.Name, n.State)
			}
		}
		r.expectAlive()
	})
}

// A group waits together, and an earlier failure meanwhile takes the whole group along.
func TestBackoffOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		spec := w.spec("sup", setup{Strategy: "rest_for_one", Children: []childSetup{{ID: "a"}, {ID: "b"}, {ID: "c"}}})
		spec.Backoff = Backoff{First: 10 * time.Second}
		s := mustNew(t, spec)
		start(t, s)
		w.take()
		w.end("b", "boom")
		w.expectEvents([]caseEvent{event("exit", "b"), event("terminated", "c", "shutdown")})
		time.Sleep(time.Second)
		w.end("a", "boom")
		w.expectEvents([]caseEvent{event("exit", "a")})
		time.Sleep(time.Minute)
		w.expectEvents([]caseEvent{event("start", "a"), event("start", "b"), event("start", "c")})
	})
}

func TestStopWhileAChildWaitsForItsRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		spec := w.spec("sup", setup{Children: []childSetup{{ID: "a"}, {ID: "b"}}})
		spec.Backoff = Backoff{First: 10 * time.Second}
		s := mustNew(t, spec)
		r := start(t, s)
		w.end("a", "boom")
		if err := s.RestartChild(t.Context(), "a"); !errors.Is(err, ErrRestarting) {
			t.Errorf("RestartChild = %v, want %v", err, ErrRestarting)
		}
		if err := s.DeleteChild(t.Context(), "a"); !errors.Is(err, ErrRestarting) {
			t.Errorf("DeleteChild = %v, want %v", err, ErrRestarting)
		}
		if err := s.StopChild(t.Context(), "a"); err != nil {
			t.Errorf("StopChild = %v, want nil", err)
		}
		time.Sleep(time.Minute)
		if got := w.startsOf("a"); got != 1 {
			t.Errorf("starts = %d, want 1", got)
		}
		w.end("b", "boom")
		if err := r.end(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

// A child that hangs is reported with the place where it hangs, and waited for no longer than its
// timeout.
func TestAbandonedChild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		s := mustNew(t, Spec{OnEvent: log.add, Children: []Child{
			{Name: "first", Run: untilStopped},
			{Name: "stuck", Run: stubborn, StopTimeout: time.Minute},
		}})
		r := start(t, s)
		begin := time.Now()
		err := s.StopChild(t.Context(), "stuck")
		if !errors.Is(err, ErrStopTimeout) || time.Since(begin) != time.Minute {
			t.Errorf("StopChild = %v after %v, want %v after 1m", err, time.Since(begin), ErrStopTimeout)
		}
		abandoned := log.of(ChildAbandoned)
		if len(abandoned) != 1 || !strings.Contains(abandoned[0].Stack, "supervisor.stubborn") {
			t.Errorf("events = %+v, want one with the stack of stubborn", abandoned)
		}
		if strings.Contains(abandoned[0].Stack, "supervisor.untilStopped") {
			t.Errorf("stack shows another child:\n%s", abandoned[0].Stack)
		}
		n := s.Tree()
		if n.Abandoned != 1 || childNamed(n, "stuck").LastError == "" {
			t.Errorf("tree = %+v, want one abandoned and the reason", n)
		}
		if err := s.DeleteChild(t.Context(), "stuck"); err != nil {
			t.Errorf("DeleteChild = %v, want nil", err)
		}
		time.Sleep(time.Hour)
		if got := len(log.of(ChildReturned)); got != 1 || s.Tree().Abandoned != 0 {
			t.Errorf("returned = %d, abandoned = %d, want 1, 0", got, s.Tree().Abandoned)
		}
		if err := r.end(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

func TestEndsThatAreNotReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		s := mustNew(t, Spec{OnEvent: log.add, Children: []Child{
			{Name: "panic", Restart: Temporary, Run: func(context.Context) error { panic("oops") }},
			{Name: "goexit", Restart: Temporary, Run: func(context.Context) error { runtime.Goexit(); return nil }},
			{Name: "never ready", Restart: Temporary, RunReady: func(context.Context, func()) error {
				time.Sleep(time.Second)
				return nil
			}},
		}})
		err := s.Run(t.Context())
		if !errors.Is(err, errNotReady) {
			t.Errorf("Run = %v, want %v", err, errNotReady)
		}
		ended := make(map[string]Event)
		for _, e := range log.of(ChildEnded) {
			ended[e.Child] = e
		}
		p, ok := errors.AsType[*PanicError](ended["panic"].Err)
		if !ok || p.Value != "oops" || !strings.Contains(ended["panic"].Stack, "TestEndsThatAreNotReturns") {
			t.Errorf("panic ended with %v and stack %q", ended["panic"].Err, ended["panic"].Stack)
		}
		if !errors.Is(ended["goexit"].Err, ErrExited) {
			t.Errorf("goexit ended with %v, want %v", ended["goexit"].Err, ErrExited)
		}
	})
}

// A group comes back whole: a transient child that had ended, or was stopped by hand, is started
// along.
func TestGroupRestartStartsWhoStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, _ := w.run(setup{Strategy: "one_for_all", Children: []childSetup{{ID: "a"}, {ID: "b", Restart: "transient"}, {ID: "c"}}})
		w.end("b", "normal")
		if err := s.StopChild(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
		w.take()
		w.end("a", "boom")
		w.expectEvents([]caseEvent{event("exit", "a"), event("start", "a"), event("start", "b"), event("start", "c")})
	})
}

// A restart that fails in the middle of a group begins again with the child that failed.
func TestGroupRestartFailsInTheMiddle(t *testing.T) {
	for strategy, want := range map[string][]caseEvent{
		"rest_for_one": {
			event("exit", "a"), event("terminated", "c", "shutdown"), event("terminated", "b", "shutdown"),
			event("start", "a"), event("init_stop", "b"), event("init_stop", "b"), event("start", "b"), event("start", "c"),
		},
		"one_for_all": {
			event("exit", "a"), event("terminated", "c", "shutdown"), event("terminated", "b", "shutdown"),
			event("start", "a"), event("init_stop", "b"), event("terminated", "a", "shutdown"),
			event("start", "a"), event("init_stop", "b"), event("terminated", "a", "shutdown"),
			event("start", "a"), event("start", "b"), event("start", "c"),
		},
	} {
		t.Run(strategy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				_, r := w.run(setup{Strategy: strategy, Children: []childSetup{
					{ID: "a"}, {ID: "b", Init: "ok, then fails on 2nd and 3rd start, then ok"}, {ID: "c"},
				}})
				w.take()
				w.end("a", "boom")
				w.expectEvents(want)
				r.expectAlive()
			})
		})
	}
}
