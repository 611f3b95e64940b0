package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Task is a function that runs under a supervisor and whose result can be waited for: by anyone,
// any number of times.
type Task[T any] struct {
	owner *Dynamic
	child *dynamicChild
	done  chan struct{} // closed when value and err are set
	value T
	err   error
}

// Outcome is what is known of a task at some moment.
type Outcome[T any] struct {
	Done  bool // false: it is still running, and the rest is zero
	Value T
	Err   error // of the task: what it returned, or a *PanicError
}

// Async runs f as a temporary child of d. Its failure is its result and concerns nobody else.
// Errors: as Start.
func Async[T any](d *Dynamic, name string, f func(ctx context.Context) (T, error)) (*Task[T], error) {
	return startTask(d, name, f, func(error) {})
}

// Linked runs f as a temporary child of d that shares the fate of its caller: it is cancelled when
// ctx is, and if it fails it cancels the caller by fail, which is the cancel function of ctx, or of
// a context that ctx is derived from. So the tasks linked to one context all end with the first
// that fails. Errors: as Start.
func Linked[T any](
	ctx context.Context, fail context.CancelCauseFunc, d *Dynamic, name string, f func(ctx context.Context) (T, error),
) (*Task[T], error) {
	stopped := false
	linked := func(own context.Context) (T, error) {
		own, cancel := context.WithCancelCause(own)
		defer cancel(nil)
		defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
		defer func() { stopped = own.Err() != nil }()
		return f(own)
	}
	return startTask(d, name, linked, func(err error) {
		if asked := stopped && stoppedCleanly(err); !asked && !clean(err) {
			fail(err)
		}
	})
}

func startTask[T any](d *Dynamic, name string, f func(context.Context) (T, error), onEnd func(error)) (*Task[T], error) {
	t := &Task[T]{owner: d, done: make(chan struct{})}
	t.child = &dynamicChild{
		Child: Child{Name: name, Restart: Temporary, Run: func(ctx context.Context) (err error) {
			t.value, err = f(ctx)
			return err
		}},
		onLeave: func(err error) {
			t.err = err
			onEnd(err)
			close(t.done)
		},
	}
	if err := d.start(t.child); err != nil {
		return nil, err
	}
	return t, nil
}

// Await waits for the result until ctx is done, or for 5 s if ctx has no deadline. Giving up does
// not stop the task, and does not lose its result. Errors: the task's own, [ErrTimeout], or ctx's
// if it was cancelled.
func (t *Task[T]) Await(ctx context.Context) (T, error) {
	ctx, cancel := withDefaultTimeout(ctx)
	defer cancel()
	var zero T
	select {
	case <-t.done:
		return t.value, t.err
	case <-ctx.Done():
	}
	return zero, fmt.Errorf("await %s: %w", t.child.Name, waitError(ctx))
}

// Poll waits for the result up to a time, which may be zero or [Forever], and says whether there is
// one.
func (t *Task[T]) Poll(wait time.Duration) Outcome[T] {
	if !within(wait, t.done) {
		return Outcome[T]{}
	}
	return Outcome[T]{Done: true, Value: t.value, Err: t.err}
}

// Stop cancels the task and waits up to grace for its end; with a grace of zero it does not wait.
// It returns the result of a task that had ended, or ended in time; [ErrShutdown] if it stopped
// without a result or was not waited for; an error that matches [ErrStopTimeout] if it ignored the
// cancellation and was abandoned.
func (t *Task[T]) Stop(grace time.Duration) (T, error) {
	if o := t.Poll(0); o.Done {
		return o.Value, o.Err
	}
	late := abandoned
	if grace <= 0 {
		late = released
	}
	err := t.owner.stop(t.child, grace, late)
	if err == nil {
		within(grace, t.done) // it has left; its result comes right after
	}
	o := t.Poll(0)
	switch {
	case o.Done && !errors.Is(o.Err, context.Canceled):
		return o.Value, o.Err
	case err != nil:
		return o.Value, err
	default:
		return o.Value, ErrShutdown
	}
}

// AwaitAll waits for all results, which it returns in the order of the tasks, with one deadline for
// all: that of ctx, or 5 s. The first task that fails ends the wait with its error, whatever its
// place; then, as after the deadline, there are no results, and what still runs goes on.
func AwaitAll[T any](ctx context.Context, tasks ...*Task[T]) ([]T, error) {
	ctx, cancel := withDefaultTimeout(ctx)
	defer cancel()
	failed := make(chan error, len(tasks))
	var watchers sync.WaitGroup
	for _, t := range tasks {
		watchers.Go(func() {
			if _, err := t.Await(ctx); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	watchers.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
	}
	values := make([]T, len(tasks))
	for i, t := range tasks {
		values[i] = t.value
	}
	return values, nil
}

// PollAll is Poll for several tasks that share the time to wait. The outcomes are in the order of
// the tasks.
func PollAll[T any](wait time.Duration, tasks ...*Task[T]) []Outcome[T] {
	begin := time.Now()
	outcomes := make([]Outcome[T], len(tasks))
	for i, t := range tasks {
		outcomes[i] = t.Poll(remaining(wait, begin))
	}
	return outcomes
}

// waitError is why a wait ended with ctx: every way to run out of time is ErrTimeout.
func waitError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrTimeout
	}
	return context.Cause(ctx)
}

// withDefaultTimeout gives ctx a deadline if it has none.
func withDefaultTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}
