package supervisor

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A task that fails ends the wait for all at once, also behind one that takes long
// (Task.await_many).
func TestAwaitAllEndsWithTheFirstFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := startDynamic(t, DynamicSpec{})
		slow := async(t, d, after(3*time.Second, 1))
		fails := async(t, d, func(ctx context.Context) (int, error) { return 0, errors.Join(errBoom, sleep(ctx, 20*ms)) })
		fast := async(t, d, after(10*ms, 2))
		begin := time.Now()
		values, err := AwaitAll(t.Context(), slow, fails, fast)
		if got := time.Since(begin); len(values) != 0 || !errors.Is(err, errBoom) || got != 20*ms {
			t.Errorf("AwaitAll = %v, %v after %v, want nothing but %v after 20ms", values, err, got, errBoom)
		}
		if got, err := slow.Await(t.Context()); got != 1 || err != nil {
			t.Errorf("Await = %d, %v, want 1: it goes on", got, err)
		}
		if values, err := AwaitAll[int](t.Context()); len(values) != 0 || err != nil {
			t.Errorf("AwaitAll of nothing = %v, %v", values, err)
		}
		r.expectAlive()
	})
}

// Tasks that are stopped, in every state they may be in.
func TestStopOfATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := startDynamic(t, DynamicSpec{})
		ended := async(t, d, after(0, 1))
		synctest.Wait()
		if got, err := ended.Stop(0); got != 1 || err != nil {
			t.Errorf("Stop of one that ended = %d, %v, want its result", got, err)
		}
		begin := time.Now()
		slow := async(t, d, func(context.Context) (int, error) { time.Sleep(time.Minute); return 2, nil })
		if _, err := slow.Stop(0); !errors.Is(err, ErrShutdown) || time.Since(begin) != 0 {
			t.Errorf("Stop at once = %v after %v, want %v at once", err, time.Since(begin), ErrShutdown)
		}
		if got, err := slow.Stop(Forever); err != nil && !errors.Is(err, ErrShutdown) {
			t.Errorf("second Stop = %d, %v", got, err)
		}
		panicking := async(t, d, func(ctx context.Context) (int, error) { _ = untilStopped(ctx); panic("late") })
		synctest.Wait()
		_, err := panicking.Stop(DefaultTimeout)
		if p, ok := errors.AsType[*PanicError](err); !ok || p.Value != "late" {
			t.Errorf("Stop of one that panics then = %v, want the panic", err)
		}
		time.Sleep(time.Minute)
	})
}
