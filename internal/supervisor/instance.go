package supervisor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// instance is one run of a child: a goroutine, and what it leaves behind.
type instance struct {
	child  *Child
	cancel context.CancelCauseFunc
	ready  chan struct{} // closed when the child is ready
	done   chan struct{} // closed by the goroutine as its last act
	err    error         // how it ended; to be read after done is closed

	fate atomic.Uint32 // who came first: the goroutine to its end, or the supervisor that leaves it
}

// Fates of an instance. Each is reached from alive only.
const (
	alive     uint32 = iota
	ended            // the goroutine is about to close done
	released         // it was stopped at once, and may still run
	abandoned        // it ignored its context for longer than its StopTimeout
)

// settle reports whether the instance was alive and has now met fate.
func (i *instance) settle(fate uint32) bool { return i.fate.CompareAndSwap(alive, fate) }

// spawn runs c in a goroutine of its own. From there announce is called as soon as c has ended, before its end is
// described and before done is closed: the supervisor is to hear of it before those whom c takes along. It reports
// whether anybody still wants to know. If not, returned is called once err tells how c ended.
// Whoever calls spawn owns the instance: it waits for done, or leaves it and says so by its fate.
func spawn(ctx context.Context, supervisor string, c *Child, announce func(*instance) bool, returned func(*instance)) *instance {
	ctx, cancel := context.WithCancelCause(ctx)
	i := &instance{child: c, cancel: cancel, ready: make(chan struct{}), done: make(chan struct{})}
	ready := sync.OnceFunc(func() { close(i.ready) })
	if c.Run != nil {
		ready()
	}
	go func() {
		defer close(i.done)
		i.err = errGoexit
		defer func() {
			v := recover()
			wanted := announce(i)
			if v != nil {
				i.err = newPanicError(v)
			}
			cancel(nil)
			if !wanted {
				returned(i)
			}
		}()
		i.err = c.run(label(ctx, supervisor, c.Name), ready)
	}()
	return i
}

// started reports whether the instance became ready, for one that has ended too.
func (i *instance) started() bool {
	select {
	case <-i.ready:
		return true
	default:
		return false
	}
}

// stop cancels the instance and waits for its end, up to timeout. It reports whether the goroutine has ended.
func (i *instance) stop(timeout time.Duration) bool {
	i.cancel(ErrShutdown)
	return within(timeout, i.done)
}

// within waits for done, up to timeout, and reports whether that came first.
func within(timeout time.Duration, done <-chan struct{}) bool {
	var expired <-chan time.Time
	switch timeout {
	case AtOnce:
		select {
		case <-done:
			return true
		default:
			return false
		}
	case Forever:
	default:
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-done:
		return true
	case <-expired:
		return false
	}
}

// ends are the instances that ended and were not looked at yet, in the order of their ends. It takes any number, so
// that the end of a child never waits for its supervisor; there are no more of them than instances.
type ends struct {
	wake chan struct{} // capacity 1: there is something to take

	mu   sync.Mutex
	list []*instance
}

func (e *ends) put(i *instance) {
	e.mu.Lock()
	e.list = append(e.list, i)
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *ends) take() []*instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.list
	e.list = nil
	return list
}
