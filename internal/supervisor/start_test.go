package supervisor

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// runnerFunc makes a Runner of a function.
type runnerFunc func(ctx context.Context, ready func()) error

func (f runnerFunc) RunReady(ctx context.Context, ready func()) error { return f(ctx, ready) }

var errCaller = errors.New("the caller has enough")

// What Start says of a part that does not become ready. Nothing of it runs afterwards.
func TestStartOfWhatDoesNotBecomeReady(t *testing.T) {
	tests := map[string]struct {
		run  runnerFunc
		want error
	}{
		"error":         {func(context.Context, func()) error { return errBoom }, errBoom},
		"nothing to do": {func(context.Context, func()) error { return ErrIgnore }, ErrIgnore},
		"no error":      {func(context.Context, func()) error { return nil }, errNotReady},
		"panic":         {func(context.Context, func()) error { panic(errBoom) }, errBoom},
		"caller": {func(ctx context.Context, _ func()) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return ctx.Err()
		}, errCaller},
		"caller, and a failure": {func(ctx context.Context, _ func()) error {
			<-ctx.Done()
			return errBoom
		}, errBoom},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Minute, func() { cancel(errCaller) })
				running := true
				stop, err := Start(ctx, runnerFunc(func(ctx context.Context, ready func()) error {
					defer func() { running = false }()
					return tt.run(ctx, ready)
				}))
				if stop != nil || !errors.Is(err, tt.want) || running {
					t.Errorf("Start = %v, and it still runs: %v; want %v, and false", err, running, tt.want)
				}
			})
		})
	}
}

// What stop says of a part that was ready, however and whenever it ended.
func TestStopTellsHowItEnded(t *testing.T) {
	hangs := mustNew(t, Spec{Name: "sup", Children: []Child{{Name: "hangs", Run: stubborn, StopTimeout: time.Second}}})
	givesUp := mustNew(t, Spec{Name: "sup", MaxRestarts: new(0), Children: []Child{{Name: "fails", Run: func(context.Context) error {
		time.Sleep(time.Second)
		return errBoom
	}}}})
	readily := func(f func(context.Context) error) Runner {
		return runnerFunc(func(ctx context.Context, ready func()) error {
			ready()
			ready() // Once more does nothing.
			return f(ctx)
		})
	}
	tests := map[string]struct {
		part Runner
		want error
	}{
		"cleanly":         {readily(untilStopped), nil},
		"with its cause":  {readily(func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }), nil},
		"before":          {readily(func(context.Context) error { return nil }), nil},
		"before, failing": {readily(func(context.Context) error { return errBoom }), errBoom},
		"panicking":       {readily(func(context.Context) error { panic(errBoom) }), errBoom},
		"giving up":       {givesUp, ErrIntensity},
		"abandoning":      {hangs, ErrStopTimeout},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stop, err := Start(t.Context(), tt.part)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				var callers sync.WaitGroup
				for range 3 {
					callers.Go(func() {
						if err := stop(); !errors.Is(err, tt.want) {
							t.Errorf("stop = %v, want %v", err, tt.want)
						}
					})
				}
				callers.Wait()
				time.Sleep(time.Hour) // The one that hangs.
			})
		})
	}
}

// The end of Start's context stops what it started.
func TestStartEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d, err := NewDynamic(DynamicSpec{Name: "d"})
		if err != nil {
			t.Fatal(err)
		}
		stop, err := Start(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Start(ctx, d); !errors.Is(err, ErrAlreadyStarted) {
			t.Errorf("second Start = %v, want %v", err, ErrAlreadyStarted)
		}
		cancel()
		synctest.Wait()
		if got := d.Tree().State; got != StateStopped {
			t.Errorf("state = %v, want %v", got, StateStopped)
		}
		if err := stop(); err != nil {
			t.Errorf("stop = %v", err)
		}
	})
}
