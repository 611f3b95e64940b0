package supervisor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDynamicNotRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, spec := range []DynamicSpec{{}, {Name: "d", MaxChildren: -1}, {Name: "d", MaxRestarts: new(-1)}} {
			if _, err := NewDynamic(spec); !errors.Is(err, ErrSpec) {
				t.Errorf("NewDynamic(%+v) = %v, want %v", spec, err, ErrSpec)
			}
		}
		d, r := startDynamic(t, DynamicSpec{})
		if err := d.Run(t.Context()); !errors.Is(err, ErrAlreadyStarted) {
			t.Errorf("second Run = %v, want %v", err, ErrAlreadyStarted)
		}
		if err := d.Start(Child{Name: "a"}); !errors.Is(err, ErrSpec) {
			t.Errorf("Start = %v, want %v", err, ErrSpec)
		}
		_ = r.end()
		if err := d.Start(Child{Name: "a", Run: untilStopped}); !errors.Is(err, ErrNotRunning) {
			t.Errorf("Start after the end = %v, want %v", err, ErrNotRunning)
		}
		start(t, d) // it begins again
		if err := d.Start(Child{Name: "a", Run: untilStopped}); err != nil {
			t.Errorf("Start in the second run = %v, want nil", err)
		}
	})
}

// A child's end frees its place at once, also by a panic, and concerns no other child.
func TestDynamicPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		d, r := startDynamic(t, DynamicSpec{MaxChildren: 2, OnEvent: log.add})
		if err := d.Start(Child{Name: "long", Run: untilStopped}); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			err := d.Start(Child{Name: "panics", Restart: Temporary, Run: func(context.Context) error { panic(errBoom) }})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := len(log.of(ChildEnded)); got != 10 {
			t.Errorf("ended = %d, want 10", got)
		}
		if err := r.end(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if got := log.of(ChildStopped); len(got) != 1 || got[0].Child != "long" || got[0].Err != nil {
			t.Errorf("stopped = %+v, want long, without an error", got)
		}
	})
}

func TestDynamicRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		d, r := startDynamic(t, DynamicSpec{MaxRestarts: new(2), Backoff: Backoff{First: 2 * time.Second}, OnEvent: log.add})
		for _, name := range []string{"sibling", "waits"} {
			if err := d.Start(Child{Name: name, Run: untilStopped}); err != nil {
				t.Fatal(err)
			}
		}
		runs := 0
		err := d.Start(Child{Name: "a", Restart: Transient, Run: func(context.Context) error {
			if runs++; runs < 3 {
				return errBoom
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := childNamed(d.Tree(), "a"); got.State != StateRestarting || got.Restarts != 1 || got.LastError != "boom" {
			t.Errorf("a = %+v, want it restarting for the first time because of boom", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := childNamed(d.Tree(), "a"); got != nil || runs != 3 {
			t.Errorf("a = %+v after %d runs, want it forgotten after 3", got, runs)
		}
		r.expectAlive()
		err = d.Start(Child{Name: "b", Run: func(context.Context) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		_ = r.end() // while b waits for its restart
		if got := len(log.of(GaveUp)); got != 0 {
			t.Errorf("gave up %d times, want 0", got)
		}
	})
}

// A child's context ends with the child, and when it is stopped its cause is the supervisor's.
func TestDynamicContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := startDynamic(t, DynamicSpec{})
		contexts := make(chan context.Context, 1)
		if err := d.Start(Child{Name: "ends", Restart: Temporary, Run: func(ctx context.Context) error {
			contexts <- ctx
			return nil
		}}); err != nil {
			t.Fatal(err)
		}
		ended := <-contexts
		if err := d.Start(Child{Name: "stopped", Run: func(ctx context.Context) error {
			contexts <- ctx
			return untilStopped(ctx)
		}}); err != nil {
			t.Fatal(err)
		}
		stopped := <-contexts
		synctest.Wait()
		if ended.Err() == nil {
			t.Error("the context of a child that ended is alive: it would stay with its supervisor for ever")
		}
		if stopped.Err() != nil {
			t.Errorf("the context of a child that runs has ended: %v", context.Cause(stopped))
		}
		r.stop(errBoom)
		<-r.done
		if got := context.Cause(stopped); !errors.Is(got, ErrShutdown) {
			t.Errorf("cause = %v, want %v", got, ErrShutdown)
		}
	})
}

// A run longer than the window is stable: the next delay is a first one.
func TestDynamicBackoffStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		d, _ := startDynamic(t, DynamicSpec{Backoff: Backoff{First: time.Second}, OnEvent: log.add})
		err := d.Start(Child{Name: "a", Run: func(ctx context.Context) error {
			if err := sleep(ctx, DefaultWithin+1); err != nil {
				return err
			}
			return errBoom
		}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * (DefaultWithin + time.Second))
		restarts := log.of(ChildRestarting)
		for _, e := range restarts {
			if e.Delay > time.Second {
				t.Errorf("delay = %v, want at most 1s", e.Delay)
			}
		}
		if len(restarts) < 10 {
			t.Errorf("restarts = %d, want more", len(restarts))
		}
	})
}

func TestDynamicGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		d, r := startDynamic(t, DynamicSpec{OnEvent: log.add})
		if err := d.Start(Child{Name: "sibling", Run: untilStopped}); err != nil {
			t.Fatal(err)
		}
		crash := make(chan struct{})
		for range 3 { // several may be one too many
			err := d.Start(Child{Name: "a", Run: func(context.Context) error {
				<-crash
				return errBoom
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		close(crash)
		r.expectExit("shutdown")
		if e, ok := errors.AsType[*IntensityError](r.err); !ok || e.Child != "a" || e.MaxRestarts != DefaultMaxRestarts {
			t.Errorf("Run = %v, want an *IntensityError of a", r.err)
		}
		if got := len(log.of(GaveUp)); got != 1 {
			t.Errorf("gave up %d times, want 1", got)
		}
		if got := len(d.Tree().Children); got != 0 {
			t.Errorf("children = %d, want 0", got)
		}
	})
}

// Whoever has a task's result has its place, too.
func TestTaskFreesItsPlaceFirst(t *testing.T) {
	d, err := NewDynamic(DynamicSpec{Name: "tasks", MaxChildren: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error)
	go func() { done <- d.RunReady(ctx, func() { close(ready) }) }()
	<-ready
	for i := range 1000 {
		if got, err := async(t, d, func(context.Context) (int, error) { return i, nil }).Await(ctx); got != i || err != nil {
			t.Fatalf("Await = %d, %v, want %d", got, err, i)
		}
	}
	for r, err := range Stream(ctx, d, items(1000), after1(0), StreamOptions{MaxConcurrency: 1}) {
		if err != nil || r.Err != nil {
			t.Fatalf("result %d: %v, %v", r.Index, r.Err, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// All children have the time of their own timeout, at the same time.
func TestDynamicAbandons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		d, r := startDynamic(t, DynamicSpec{OnEvent: log.add})
		for name, timeout := range map[string]time.Duration{"minute": time.Minute, "second": time.Second, "at once": 0} {
			child := Child{Name: name, Restart: Temporary, Run: stubborn, StopTimeout: timeout, NoWait: timeout == 0}
			if err := d.Start(child); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		begin := time.Now()
		err := r.end()
		if got := time.Since(begin); !errors.Is(err, ErrStopTimeout) || got != time.Minute {
			t.Errorf("Run = %v after %v, want %v after 1m", err, got, ErrStopTimeout)
		}
		if got := log.of(ChildAbandoned); len(got) != 2 || !strings.Contains(got[0].Stack, "supervisor.stubborn") {
			t.Errorf("abandoned = %+v, want two, with stacks", got)
		}
		if got := d.Abandoned(); got != 3 {
			t.Errorf("goroutines left = %d, want 3", got)
		}
		time.Sleep(time.Hour)
		if got, want := d.Abandoned(), len(log.of(ChildReturned)); got != 0 || want != 2 {
			t.Errorf("goroutines left = %d, returned = %d, want 0, 2", got, want)
		}
	})
}

func TestDynamicStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := startDynamic(t, DynamicSpec{})
		for _, c := range []Child{
			{Name: "a", Run: untilStopped},
			{Name: "b", Run: untilStopped},
			{Name: "a", Run: untilStopped},
			{Name: "stuck", Run: stubborn},
		} {
			if err := d.Start(c); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Stop("a"); err != nil {
			t.Errorf("Stop = %v, want nil", err)
		}
		if err := d.Stop("a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("Stop = %v, want %v", err, ErrNotFound)
		}
		if err := d.Stop("stuck"); !errors.Is(err, ErrStopTimeout) {
			t.Errorf("Stop = %v, want %v", err, ErrStopTimeout)
		}
		if got := d.Tree().Children; len(got) != 1 || got[0].Name != "b" {
			t.Errorf("children = %+v, want b", got)
		}
		time.Sleep(time.Hour)
	})
}

func TestDynamicStartReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		w := newWorld(t)
		d, r := startDynamic(t, DynamicSpec{OnEvent: log.add})
		if err := d.StartReady(t.Context(), w.child(childSetup{ID: "ok"})); err != nil {
			t.Errorf("StartReady = %v, want nil", err)
		}
		w.expectEvents([]caseEvent{event("start", "ok")})
		if err := d.StartReady(t.Context(), Child{Name: "plain", Run: untilStopped}); err != nil {
			t.Errorf("StartReady of a plain child = %v, want nil", err)
		}
		if err := d.StartReady(t.Context(), w.child(childSetup{ID: "ignore", Init: "ignore"})); err != nil {
			t.Errorf("StartReady of a child that asks to be ignored = %v, want nil as StartChild", err)
		}
		if got := len(d.Tree().Children); got != 2 { // nothing is left of it
			t.Errorf("children = %d, want 2", got)
		}
		if err := d.StartReady(t.Context(), w.child(childSetup{ID: "fails", Init: "fails"})); !errors.Is(err, errBoom) {
			t.Errorf("StartReady = %v, want %v", err, errBoom)
		}
		if got := len(d.Tree().Children); got != 2 { // nothing is left of it
			t.Errorf("children = %d, want 2", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := d.StartReady(ctx, Child{Name: "slow", RunReady: func(ctx context.Context, _ func()) error { return untilStopped(ctx) }})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("StartReady = %v, want %v", err, context.DeadlineExceeded)
		}
		if got := len(d.Tree().Children); got != 2 { // nothing is left of it
			t.Errorf("children = %d, want 2", got)
		}
		if started, failed := len(log.of(ChildStarted)), len(log.of(ChildFailed)); started != 2 || failed != 2 {
			t.Errorf("events: %d started, %d failed, want 2, 2", started, failed)
		}
		r.expectAlive()
	})
}
